{#- All columns in one query, for every test costs time. -#}
{% test no_nulls(model, columns) %}

select *
from {{ model }}
where
    {%- for column in columns %}
    {{ "or " if not loop.first }}{{ column }} is null
    {%- endfor %}

{% endtest %}
