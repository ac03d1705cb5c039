{#- Revocations and their originals: few beside all transfers, and all that the models of
    revocations read. Those of earlier months in a chain with a revocation of this run are among
    them. #}

with revocations as (

    select * from {{ ref("int_transfers_posted") }}
    where reason = 'revocation'

),

revoked_ids as (

    select distinct reverses_transfer_id as transfer_id
    from revocations

),

transfers as (

    select * from revocations

    union all

    select posted.*
    from {{ ref("int_transfers_posted") }} as posted
    inner join revoked_ids
        on posted.transfer_id = revoked_ids.transfer_id
    where posted.reason <> 'revocation'

),

closes_in_force as (

    select
        report_month,
        cutoff_entry_id
    from {{ ref("stg_ledger__closes") }}
    where is_in_force

),

{# What a close decided about a transfer, by what it knew, does not change later. For one that no
    close has posted the run decides, which knows every entry that it read. #}
decided as (

    select
        transfers.*,
        closes_in_force.cutoff_entry_id as deciding_cutoff
    from transfers
    left join closes_in_force
        on transfers.posting_month = closes_in_force.report_month

)

select * from decided
