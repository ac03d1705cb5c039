-- The big tables of a build, written by hand for DuckDB by somebody who trusts every row: no quarantine, no
-- repetitions, no statuses, no closes, no discrepancies, one level of revocation, months by UTC.
create table transfers as
select
    raw.transfer_id,
    raw.relation_reference,
    'POINTS' as currency,
    raw.style,
    cast(raw.points as decimal(18, 4)) as points,
    case when raw.style = 'give' then 1 else -1 end * cast(raw.points as decimal(18, 4)) as signed_points,
    raw.reason,
    case
        when raw.reason = 'revocation' and original.reason is not null
            then case when rules_of_original.bucket = 'earned' then 'reversal' else rules_of_original.bucket end
        else rules.bucket
    end as bucket,
    cast(raw.occurred_at as timestamp) as occurred_at,
    cast(date_trunc('month', cast(raw.occurred_at as timestamp)) as date) as posting_month,
    raw.reverses_transfer_id
from read_parquet(getvariable('input')) as raw
left join read_parquet(getvariable('input')) as original
    on raw.reverses_transfer_id = original.transfer_id
left join rules on raw.reason = rules.reason and raw.style = rules.style
left join rules as rules_of_original
    on original.reason = rules_of_original.reason and original.style = rules_of_original.style;

create table points_movements_by_month as
select
    posting_month as report_month,
    currency,
    relation_reference,
    bucket,
    reason,
    cast(sum(case when bucket = 'earned' then signed_points else -signed_points end) as decimal(38, 4))
        as bucket_points,
    cast(sum(signed_points) as decimal(38, 4)) as signed_points,
    count(*) as transfer_count
from transfers
group by all;

create table outstanding_points_by_month as
with changes as (
    select
        report_month,
        currency,
        relation_reference,
        cast(sum(bucket_points) filter (bucket = 'earned') as decimal(38, 4)) as earned_points,
        cast(sum(bucket_points) filter (bucket = 'reversal') as decimal(38, 4)) as reversal_points,
        cast(sum(bucket_points) filter (bucket = 'redeemed') as decimal(38, 4)) as redeemed_points,
        cast(sum(bucket_points) filter (bucket = 'expired') as decimal(38, 4)) as expired_points
    from points_movements_by_month
    group by all
),

filled as (
    select
        report_month,
        currency,
        relation_reference,
        coalesce(earned_points, 0) as earned_points,
        coalesce(reversal_points, 0) as reversal_points,
        coalesce(redeemed_points, 0) as redeemed_points,
        coalesce(expired_points, 0) as expired_points
    from changes
),

running as (
    select
        *,
        cast(sum(earned_points) over so_far as decimal(38, 4)) as total_earned_points,
        cast(sum(reversal_points) over so_far as decimal(38, 4)) as total_reversal_points,
        cast(sum(redeemed_points) over so_far as decimal(38, 4)) as total_redeemed_points,
        cast(sum(expired_points) over so_far as decimal(38, 4)) as total_expired_points,
        coalesce(lead(report_month) over so_far, (select max(report_month) + interval 1 month from changes)) as until
    from filled
    window so_far as (partition by currency, relation_reference order by report_month)
)

select
    cast(month as date) as report_month,
    currency,
    relation_reference,
    closing_points - movement as opening_points,
    case when is_change then earned_points else 0 end as earned_points,
    case when is_change then reversal_points else 0 end as reversal_points,
    case when is_change then redeemed_points else 0 end as redeemed_points,
    case when is_change then expired_points else 0 end as expired_points,
    closing_points,
    total_earned_points,
    total_reversal_points,
    total_redeemed_points,
    total_expired_points,
    closing_points as total_outstanding_points
from (
    select
        *,
        month = report_month as is_change,
        total_earned_points - total_reversal_points - total_redeemed_points - total_expired_points as closing_points,
        case when month = report_month
            then earned_points - reversal_points - redeemed_points - expired_points else 0 end as movement
    from (
        select *, unnest(generate_series(report_month, until - interval 1 day, interval 1 month)) as month
        from running
    )
)
order by 1;

create table programme_points_by_month as
select
    report_month,
    currency,
    cast(sum(opening_points) as decimal(38, 4)) as opening_points,
    cast(sum(earned_points) as decimal(38, 4)) as earned_points,
    cast(sum(reversal_points) as decimal(38, 4)) as reversal_points,
    cast(sum(redeemed_points) as decimal(38, 4)) as redeemed_points,
    cast(sum(expired_points) as decimal(38, 4)) as expired_points,
    cast(sum(closing_points) as decimal(38, 4)) as closing_points,
    count(*) as relation_count,
    count(*) filter (closing_points < 0) as negative_relation_count
from outstanding_points_by_month
group by all;

create table customer_point_balances as
select currency, relation_reference, cast(sum(signed_points) as decimal(38, 4)) as approved_points
from transfers
group by all;
