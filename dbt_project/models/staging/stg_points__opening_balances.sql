{% set has_balances = setting("POINTS_OPENING_BALANCES") != "" %}
{% if execute and has_balances != (setting("POINTS_OPENING_CUTOFF") != "") %}
    {{ exceptions.raise_compiler_error(
        "POINTS_OPENING_BALANCES and POINTS_OPENING_CUTOFF go together:"
        ~ " balances, and the entry that they reach to."
    ) }}
{% endif %}

with source as (

    {{ optional_relation("POINTS_OPENING_BALANCES", none, {
        "report_month": "date",
        "currency": "string",
        "relation_reference": "string",
        "total_earned_points": "decimal(38, 4)",
        "total_reversal_points": "decimal(38, 4)",
        "total_redeemed_points": "decimal(38, 4)",
        "total_expired_points": "decimal(38, 4)",
        "total_outstanding_points": "decimal(38, 4)",
        "is_account_closed": "boolean",
    }) | indent(4) }}

)

select * from source
