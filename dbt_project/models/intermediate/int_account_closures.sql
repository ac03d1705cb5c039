with events as (

    select * from {{ ref("int_account_events") }}

),

{# At a month's end an account is what its latest event then visible made it. #}
followed as (

    select
        relation_reference,
        event,
        visible_from_month as from_month,
        coalesce(
            min(visible_from_month) over (
                partition by relation_reference
                order by event_at, entry_id nulls last, event
                rows between 1 following and unbounded following
            ),
            cast('9999-12-01' as date)
        ) as until_month
    from events
    where visible_from_month is not null

),

closures as (

    select
        relation_reference,
        from_month,
        until_month
    from followed
    where
        event = 'close'
        and from_month < until_month

)

select * from closures
