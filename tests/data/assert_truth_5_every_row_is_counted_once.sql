{#- Truth 5 (docs/design.md, section 8). Fails where a row that the run read is lost or counted
    twice on its way, or is in no place that it could be in: in a bucket and a month of the run,
    left for a later month, pending, on hold, cancelled, quarantined, a repetition or a status
    change. Each line says which count or sum of points does not come out. -#}
{{ config(meta={"dagster": {"ref": {"name": "transfer_history"}}}) }}

with ledger_transfers as (

    select * from {{ ref("stg_ledger__transfers") }}

),

raw_rows as (

    select * from {{ ref("base_files__transfers") }}

),

transfer_rows as (

    select * from {{ ref("stg_files__transfer_rows") }}

),

repeated_rows as (

    select * from {{ ref("stg_files__repeated_rows") }}

),

unposted_transfers as (

    select * from {{ ref("stg_closed_month__unposted_transfers") }}

),

quarantined_transfers as (

    select * from {{ ref("quarantined_transfers") }}

),

movements as (

    select * from {{ ref("points_movements_by_month") }}

),

months as (

    select report_month from {{ ref("int_report_months") }}

),

{# A run whose transfers are all still to come has no month. #}
last_month as (

    select coalesce(max(report_month), cast('1900-01-01' as date)) as report_month
    from months

),

{# A place is given only to a transfer that has everything its disposition promises. #}
placed as (

    select
        history.currency,
        history.style,
        history.reason,
        history.points,
        history.disposition
    from {{ ref("transfer_history") }} as history
    left join months
        on history.posting_month = months.report_month
    cross join last_month
    where
        case history.disposition
            when 'posted'
                then
                    history.status = 'approved'
                    and months.report_month is not null
                    and history.bucket in ('earned', 'reversal', 'redeemed', 'expired')
            when 'later'
                then
                    history.status = 'approved'
                    and history.posting_month > last_month.report_month
            when history.status
                then
                    history.status in ('pending', 'on_hold', 'cancelled')
                    and history.posting_month is null
        end

),

accepted as (

    select
        currency,
        style,
        reason,
        points
    from {{ ref("int_transfers_united") }}

    union all

    select
        currency,
        style,
        reason,
        points
    from unposted_transfers

),

{# Each count stands on one side of an equation, which `what` names. #}
sides as (

    {#- In a file, rows that are not the run's stand too, and only staging can separate them. #}
    {%- if not (setting("POINTS_OPENING_CUTOFF") or setting("POINTS_UPTO_ENTRY_ID")) %}

    select
        'rows of the source, in staging' as what,
        count(*) as expected_value,
        0 as found_value
    from raw_rows

    union all

    select
        'rows of the source, in staging' as what,
        0 as expected_value,
        count(*) as found_value
    from transfer_rows

    union all
    {%- endif %}

    select
        'rows, each in one place' as what,
        count(*) as expected_value,
        0 as found_value
    from ledger_transfers

    union all

    select
        'rows, each in one place' as what,
        count(*) as expected_value,
        0 as found_value
    from transfer_rows

    union all

    select
        'rows, each in one place' as what,
        count(*) as expected_value,
        0 as found_value
    from unposted_transfers

    union all

    select
        'rows, each in one place' as what,
        0 as expected_value,
        count(*) as found_value
    from placed

    union all

    select
        'rows, each in one place' as what,
        0 as expected_value,
        count(*) as found_value
    from quarantined_transfers

    union all

    select
        'rows, each in one place' as what,
        0 as expected_value,
        count(*) as found_value
    from repeated_rows
    where verdict in ('repetition', 'status_change')

    union all

    select
        'posted transfers, in the movements' as what,
        count(*) as expected_value,
        0 as found_value
    from placed
    where disposition = 'posted'

    union all

    select
        'posted transfers, in the movements' as what,
        0 as expected_value,
        coalesce(sum(transfer_count), 0) as found_value
    from movements
    {%- for measure, aggregate in [("transfers", "count(*)"), ("points", "sum(points)")] %}

    union all

    select
        concat('{{ measure }} of ', currency, ' ', style, ' ', reason) as what,
        {{ aggregate }} as expected_value,
        0 as found_value
    from accepted
    group by
        currency,
        style,
        reason

    union all

    select
        concat('{{ measure }} of ', currency, ' ', style, ' ', reason) as what,
        0 as expected_value,
        {{ aggregate }} as found_value
    from placed
    group by
        currency,
        style,
        reason
    {%- endfor %}

),

equations as (

    select
        what,
        cast(sum(expected_value) as decimal(38, 4)) as expected_value,
        cast(sum(found_value) as decimal(38, 4)) as found_value
    from sides
    group by what

)

select * from equations
where found_value is distinct from expected_value
