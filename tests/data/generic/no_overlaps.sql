{#- Two rows with the same start leave a span behind that is empty. -#}
{% test no_overlaps(model, grain, from_column, until_column) %}

with followed as (

    select
        *,
        lead({{ from_column }}) over (
            partition by {{ grain | join(", ") }}
            order by {{ from_column }}, {{ until_column }}
        ) as next_from
    from {{ model }}

)

select *
from followed
where
    {{ from_column }} is null
    or {{ until_column }} is null
    or {{ from_column }} >= {{ until_column }}
    or next_from < {{ until_column }}
    {%- for column in grain %}
    or {{ column }} is null
    {%- endfor %}

{% endtest %}
