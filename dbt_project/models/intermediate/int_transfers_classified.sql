with transfers as (

    select * from {{ ref("int_transfers_posted") }}
    where is_related_only is not true

),

revocation_chains as (

    select * from {{ ref("int_revocation_chains") }}

),

bucket_rules as (

    select * from {{ ref("stg_seeds__bucket_rules") }}

),

{# The bucket (docs/design.md, section 7): of a revocation whose original is known, what undoes the
    original's; of everything else, what the rules say of its reason and style in the month it posts
    to. #}
classified as (

    select
        transfers.*,
        coalesce(revocation_chains.bucket, bucket_rules.bucket) as bucket
    from transfers
    left join revocation_chains
        on transfers.transfer_id = revocation_chains.transfer_id
    left join bucket_rules
        on
            transfers.reason = bucket_rules.reason
            and transfers.style = bucket_rules.style
            and transfers.posting_month >= bucket_rules.from_month
            and transfers.posting_month < bucket_rules.until_month

)

select * from classified
