{% test values_in(model, column_name, values, or_null=false) %}

select
    {{ column_name }} as found_value,
    count(*) as row_count
from {{ model }}
where
    {{ column_name }} not in ('{{ values | join("', '") }}')
    {%- if not or_null %}
    or {{ column_name }} is null
    {%- endif %}
group by {{ column_name }}

{% endtest %}
