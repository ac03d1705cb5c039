{{ config(materialized="table") }}

with transfer_rows as (

    select * from {{ ref("stg_files__transfer_rows") }}
    where rejection_code is null

),

repeated_ids as (

    select transfer_id
    from transfer_rows
    group by transfer_id
    having count(*) > 1

),

repeated as (

    select transfer_rows.*
    from transfer_rows
    inner join repeated_ids
        on transfer_rows.transfer_id = repeated_ids.transfer_id

),

{# Content is compared by value; comments and columns that a file lacks do not count. #}
contents as (

    select
        transfer_id,
        max(status) as any_status,
        max(currency) as any_currency,
        max(reverses_transfer_id) as any_reverses_transfer_id,
        max(external_reference) as any_external_reference,
        min(entry_id) as first_entry_id,
        max(case when status in ('pending', 'on_hold') then 1 else 0 end) = 1 as was_waiting,
        count(distinct relation_reference) > 1
        or count(distinct currency) > 1
        or count(distinct style) > 1
        or count(distinct points) > 1
        or count(distinct reason) > 1
        or count(distinct occurred_at) > 1
        or count(distinct reverses_transfer_id) > 1
        or count(distinct external_reference) > 1 as has_conflict
    from repeated
    group by transfer_id

),

{# A row without a status takes it from the rows of the transfer that have one, so it adds none. #}
statuses as (

    select
        repeated.*,
        contents.any_currency,
        contents.any_reverses_transfer_id,
        contents.any_external_reference,
        contents.was_waiting,
        contents.first_entry_id,
        contents.has_conflict,
        repeated.status is null and contents.any_status is not null as is_status_implied,
        coalesce(repeated.status, 'approved') as stated_status,
        coalesce(repeated.status, 'approved') in ('approved', 'cancelled') as is_final
    from repeated
    inner join contents
        on repeated.transfer_id = contents.transfer_id

),

distinct_statements as (

    select
        *,
        row_number() over (
            partition by transfer_id, is_status_implied, stated_status, status_changed_at
            order by
                entry_id nulls last,
                external_reference nulls last,
                comment nulls last,
                recorded_at nulls last
        ) as copy_number
    from statuses

),

{# Only the first row of each status and time takes part in the order of statuses. An undated one
    comes first, unless it ends the waiting of a transfer that had been recorded as waiting; at
    equal times the final status is last. So of pending (undated), on_hold (2 February) and approved
    (undated, of a later entry) approved is last. #}
ordered as (

    select
        *,
        not is_status_implied and copy_number = 1 as is_new_status,
        row_number() over (
            partition by transfer_id, not is_status_implied and copy_number = 1
            order by
                case
                    when status_changed_at is not null then status_changed_at
                    when is_final and was_waiting and coalesce(entry_id > first_entry_id, true)
                        then timestamp '9999-12-31 00:00:00'
                    else timestamp '1900-01-01 00:00:00'
                end,
                is_final,
                stated_status,
                entry_id
        ) as position_in_order
    from distinct_statements

),

followed as (

    select
        *,
        lag(stated_status) over (
            partition by transfer_id, is_new_status
            order by position_in_order
        ) as status_before,
        coalesce(max(case when is_final then 1 else 0 end) over (
            partition by transfer_id, is_new_status
            order by position_in_order
            rows between unbounded preceding and 1 preceding
        ), 0) = 1 as is_after_final
    from ordered

),

judged as (

    select
        entry_id,
        transfer_id,
        relation_reference,
        case when has_conflict then currency else any_currency end as currency,
        style,
        points,
        reason,
        stated_status as status,
        status_changed_at,
        occurred_at,
        recorded_at,
        recorded_by,
        case when has_conflict then reverses_transfer_id else any_reverses_transfer_id end
            as reverses_transfer_id,
        batch_id,
        case when has_conflict then external_reference else any_external_reference end
            as external_reference,
        comment,
        file,
        line,
        case
            when has_conflict then 'rejected'
            when not is_new_status then 'repetition'
            when position_in_order = 1 then 'transfer'
            when stated_status = status_before then 'repetition'
            when is_after_final then 'rejected'
            else 'status_change'
        end as verdict,
        case when has_conflict then 'ID_CONFLICT' else 'STATUS_TRANSITION' end as broken_rule
    from followed

)

select * from judged
