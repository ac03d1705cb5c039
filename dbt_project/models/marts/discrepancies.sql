{#- What is counted as it came and deserves a look. `severity` is 'error' where a balance may be
    wrong, 'warning' where the cause should be looked into, 'info' where it explains a number. #}

with found as (

    select
        report_month,
        currency,
        relation_reference,
        transfer_id,
        discrepancy,
        'error' as severity,
        points
    from {{ ref("int_revocation_discrepancies") }}

    union all

    select
        report_month,
        currency,
        relation_reference,
        cast(null as string) as transfer_id,
        'negative_outstanding' as discrepancy,
        'warning' as severity,
        closing_points as points
    from {{ ref("outstanding_points_by_month") }}
    where closing_points < 0

    union all

    select
        posting_month as report_month,
        currency,
        relation_reference,
        transfer_id,
        'activity_after_closure' as discrepancy,
        'warning' as severity,
        points
    from {{ ref("int_transfers_after_closure") }}

    union all

    select
        posting_month as report_month,
        currency,
        relation_reference,
        transfer_id,
        'late_posting' as discrepancy,
        'info' as severity,
        points
    from {{ ref("int_transfers_classified") }}
    where is_late

    union all

    select
        report_month,
        currency,
        relation_reference,
        transfer_id,
        'future_dated' as discrepancy,
        'warning' as severity,
        points
    from {{ ref("int_transfers_dated_ahead") }}

),

typed as (

    select
        report_month,
        currency,
        relation_reference,
        transfer_id,
        discrepancy,
        severity,
        cast(points as decimal(38, 4)) as points
    from found

)

select * from typed
