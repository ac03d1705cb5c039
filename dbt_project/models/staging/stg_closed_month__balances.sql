{% set has_balances = setting("POINTS_OPENING_BALANCES") != "" %}
{% if execute and has_balances != (setting("POINTS_OPENING_CUTOFF") != "") %}
    {{ exceptions.raise_compiler_error(
        "POINTS_OPENING_BALANCES and POINTS_OPENING_CUTOFF go together:"
        ~ " balances, and the entry that they reach to."
    ) }}
{% endif %}

with source as (

    {{ rows_of(source("closed_month", "balances")) | indent(4) }}

)

select * from source
