{% test matches_pattern(model, column_name, pattern, or_empty=false) %}

select {{ column_name }} as found_value
from {{ model }}
where
    not {{ full_match("coalesce(" ~ column_name ~ ", '')", var("transfer_patterns")[pattern]) }}
    {%- if or_empty %}
    and coalesce({{ column_name }}, '') <> ''
    {%- endif %}

{% endtest %}
