{#- Raw rows that break a rule, as they were sent, with the first rule that each broke. #}

with broken_by_themselves as (

    select
        file,
        line,
        rejection_code,
        rejected_column,
        rejected_value,
        transfer_id,
        relation_reference,
        currency,
        style,
        raw_points as points,
        reason,
        status,
        raw_occurred_at as occurred_at,
        raw_status_changed_at as status_changed_at,
        reverses_transfer_id,
        external_reference,
        comment
    from {{ ref("stg_files__transfer_rows") }}
    where rejection_code is not null

),

broken_together as (

    select
        file,
        line,
        broken_rule as rejection_code,
        case broken_rule
            {%- for rule in repetition_rules() %}
            when '{{ rule["code"] }}' then '{{ rule["column"] }}'
            {%- endfor %}
        end as rejected_column,
        case broken_rule
            {%- for rule in repetition_rules() %}
            when '{{ rule["code"] }}' then {{ rule["column"] }}
            {%- endfor %}
        end as rejected_value,
        transfer_id,
        relation_reference,
        currency,
        style,
        cast(points as string) as points,
        reason,
        status,
        cast(occurred_at as string) as occurred_at,
        cast(status_changed_at as string) as status_changed_at,
        reverses_transfer_id,
        external_reference,
        comment
    from {{ ref("stg_files__repeated_rows") }}
    where verdict = 'rejected'

),

quarantined as (

    select * from broken_by_themselves
    union all
    select * from broken_together

),

explained as (

    select
        file,
        line,
        rejection_code,
        rejected_column,
        rejected_value,
        case concat(rejection_code, ' ', rejected_column)
            {%- for rule in transfer_rules() + repetition_rules() %}
            when '{{ rule["code"] }} {{ rule["column"] }}'
                then '{{ rule["expected"] }}'
            {%- endfor %}
        end as expected,
        transfer_id,
        relation_reference,
        currency,
        style,
        points,
        reason,
        status,
        occurred_at,
        status_changed_at,
        reverses_transfer_id,
        external_reference,
        comment
    from quarantined

)

select * from explained
