{#- A text that matches, as a whole, one of the patterns in dbt_project.yml (`transfer_patterns`),
    named by `pattern`. Null and the empty text fail, unless `or_empty` allows them. -#}
{% test matches_pattern(model, column_name, pattern, or_empty=false) %}

select {{ column_name }} as found_value
from {{ model }}
where
    not {{ full_match("coalesce(" ~ column_name ~ ", '')", var("transfer_patterns")[pattern]) }}
    {%- if or_empty %}
    and coalesce({{ column_name }}, '') <> ''
    {%- endif %}

{% endtest %}
