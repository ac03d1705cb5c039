{% test equal_on_every_row(model, left, right) %}

select
    {{ left }} as found_value,
    {{ right }} as expected_value,
    *
from {{ model }}
where
    ({{ left }}) is distinct from ({{ right }})
    or ({{ left }}) is null

{% endtest %}
