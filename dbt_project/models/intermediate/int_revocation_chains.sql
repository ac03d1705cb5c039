{#- Each revocation whose chain of originals ends, with the bucket that it gets from the root there.
    The walk goes down from the ends, so a circle, which has none, is never entered: of gift ← r-1 ←
    r-2 both are found (from gift), of r-3 ← r-4 ← r-3 neither. #}

with recursive bucket_rules as (

    select * from {{ ref("stg_seeds__bucket_rules") }}

),

revocations as (

    select
        transfer_id,
        entry_id,
        reverses_transfer_id,
        deciding_cutoff
    from {{ ref("int_transfers_linked") }}
    where reason = 'revocation'

),

{# A root's bucket is that of the month it posts to; for a close that did not know yet that it was
    effective, that of the month in which it occurred. #}
roots as (

    select
        transfers.transfer_id,
        transfers.entry_id,
        transfers.effective_entry_id,
        rules_when_posted.bucket as bucket_when_posted,
        rules_when_occurred.bucket as bucket_when_occurred
    from {{ ref("int_transfers_linked") }} as transfers
    left join bucket_rules as rules_when_posted
        on
            transfers.reason = rules_when_posted.reason
            and transfers.style = rules_when_posted.style
            and transfers.posting_month >= rules_when_posted.from_month
            and transfers.posting_month < rules_when_posted.until_month
    left join bucket_rules as rules_when_occurred
        on
            transfers.reason = rules_when_occurred.reason
            and transfers.style = rules_when_occurred.style
            and {{ report_month("transfers.occurred_at") }} >= rules_when_occurred.from_month
            and {{ report_month("transfers.occurred_at") }} < rules_when_occurred.until_month
    where transfers.reason <> 'revocation'

),

{# What revokes a root, and what points to nothing known. #}
first_links as (

    select
        revocations.transfer_id,
        revocations.entry_id,
        roots.transfer_id as root_transfer_id,
        roots.effective_entry_id as root_effective_entry_id,
        roots.bucket_when_posted,
        roots.bucket_when_occurred,
        roots.entry_id as latest_original_entry_id,
        revocations.deciding_cutoff as smallest_cutoff,
        roots.transfer_id is not null
        and coalesce(roots.entry_id <= revocations.deciding_cutoff, true) as is_known
    from revocations
    left join roots
        on revocations.reverses_transfer_id = roots.transfer_id
    left join revocations as originals
        on revocations.reverses_transfer_id = originals.transfer_id
    where originals.transfer_id is null

),

chains as (

    select * from first_links

    union all

    select
        revocations.transfer_id,
        revocations.entry_id,
        chains.root_transfer_id,
        chains.root_effective_entry_id,
        chains.bucket_when_posted,
        chains.bucket_when_occurred,
        {{ greatest_of("chains.latest_original_entry_id", "chains.entry_id") }}
            as latest_original_entry_id,
        {{ least_of("chains.smallest_cutoff", "revocations.deciding_cutoff") }} as smallest_cutoff,
        chains.is_known and coalesce(
            {{ greatest_of("chains.latest_original_entry_id", "chains.entry_id") }}
            <= revocations.deciding_cutoff,
            true
        ) as is_known
    from chains
    inner join revocations
        on chains.transfer_id = revocations.reverses_transfer_id

),

with_bucket as (

    select
        transfer_id,
        root_transfer_id,
        is_known,
        case
            when not is_known then null
            when coalesce(root_effective_entry_id <= smallest_cutoff, true)
                then {{ revoking_bucket("coalesce(bucket_when_posted, bucket_when_occurred)") }}
            else {{ revoking_bucket("bucket_when_occurred") }}
        end as bucket
    from chains

)

select * from with_bucket
