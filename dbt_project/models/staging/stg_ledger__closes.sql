{{ config(materialized=view_unless_recomputed()) }}

with all_closes as (

    {{ rows_of(source("ledger", "closes")) | indent(4) }}

),

source as (

    select * from all_closes
    where {{ is_known_to_run("entry_id") }}

),

closes as (

    select * from source
    where event = 'close'

),

reopenings as (

    select * from source
    where event = 'reopen'

),

{# A reopening takes the month's close and every later month's out of force. #}
in_force as (

    select
        entry_id,
        report_month,
        revision,
        cutoff_entry_id,
        not exists (
            select 1
            from reopenings
            where
                reopenings.report_month <= closes.report_month
                and reopenings.entry_id > closes.entry_id
        ) as is_in_force
    from closes

)

select * from in_force
