{#- Fails where what a customer has now is not what was handed in plus the approved transfers that
    have taken effect, or where what is pending or on hold is not what transfer_history says. -#}
{{ config(meta={"dagster": {"ref": {"name": "customer_point_balances"}}}) }}

{%- set columns = [
    "approved_points", "pending_given_points", "pending_deducted_points", "on_hold_given_points",
    "on_hold_deducted_points",
] %}

with balances as (

    select * from {{ ref("customer_point_balances") }}

),

history as (

    select * from {{ ref("transfer_history") }}

),

newest as (

    {{ recorded_until("history") }}

),

transfers as (

    select
        history.currency,
        history.relation_reference,
        case
            when history.status <> 'approved' then history.status
            when history.effective_at > newest.recorded_at then 'not yet effective'
            else 'approved'
        end as status,
        history.style,
        history.points
    from history
    cross join newest

    union all

    select
        currency,
        relation_reference,
        'approved' as status,
        'give' as style,
        total_outstanding_points as points
    from {{ ref("stg_closed_month__balances") }}

),

expected as (

    select
        currency,
        relation_reference,
        sum(case when status = 'approved' and style = 'give' then points else 0 end)
        - sum(case when status = 'approved' and style = 'deduct' then points else 0 end)
            as approved_points,
        sum(case when status = 'pending' and style = 'give' then points else 0 end)
            as pending_given_points,
        sum(case when status = 'pending' and style = 'deduct' then points else 0 end)
            as pending_deducted_points,
        sum(case when status = 'on_hold' and style = 'give' then points else 0 end)
            as on_hold_given_points,
        sum(case when status = 'on_hold' and style = 'deduct' then points else 0 end)
            as on_hold_deducted_points
    from transfers
    group by
        currency,
        relation_reference

),

broken as (

    select
        coalesce(balances.currency, expected.currency) as currency,
        coalesce(balances.relation_reference, expected.relation_reference) as relation_reference,
        {%- for column in columns %}
        balances.{{ column }} as found_{{ column }},
        expected.{{ column }} as expected_{{ column }}
        {{- "," if not loop.last }}
        {%- endfor %}
    from balances
    full outer join expected
        on
            balances.currency = expected.currency
            and balances.relation_reference = expected.relation_reference
    where
        {%- for column in columns %}
        {{ "or " if not loop.first -}}
        balances.{{ column }} is distinct from coalesce(expected.{{ column }}, 0)
        {%- endfor %}

)

select * from broken
