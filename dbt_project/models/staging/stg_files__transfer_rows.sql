{{ config(materialized="table") }}

{%- set columns = transfer_columns()["needed"] + transfer_columns()["optional"] %}

with source as (

    select * from {{ ref("base_files__transfers") }}

),

currencies as (

    select currency from {{ ref("points_currencies") }}

),

reasons as (

    select distinct
        reason,
        style
    from {{ ref("transfer_reasons") }}

),

in_utc as (

    select
        *,
        {{ instant_with_offset("status_changed_at") }} as status_changed_at_in_utc,
        {{ instant_with_offset("occurred_at") }} as occurred_at_in_utc,
        {{ instant_with_offset("recorded_at") }} as recorded_at_in_utc
    from source

),

{# A column that a file lacks stays null; an empty value says what its absence means. #}
typed as (

    select
        case
            when {{ full_match("source.entry_id", "[0-9]{1,18}") }}
                then cast(source.entry_id as bigint)
        end as entry_id,
        case
            when source.currency = ''
                then {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }}
            else source.currency
        end as currency,
        {{ parsed_points("source.points") }} as points,
        case when source.status = '' then 'approved' else source.status end as status,
        {{ parsed_instant("source.status_changed_at", "source.status_changed_at_in_utc") }}
            as status_changed_at,
        {{ parsed_instant("source.occurred_at", "source.occurred_at_in_utc") }}
            as occurred_at,
        {{ parsed_instant("source.recorded_at", "source.recorded_at_in_utc") }}
            as recorded_at,
        {%- for column in columns if column not in
            ["entry_id", "currency", "points", "status", "status_changed_at", "occurred_at", "recorded_at"] %}
        source.{{ column }},
        {%- endfor %}
        source.has_wrong_field_count,
        source.file,
        source.line,
        currencies.currency is not null as is_known_currency,
        reasons.reason is not null as is_known_reason,
        source.entry_id as raw_entry_id,
        source.points as raw_points,
        source.occurred_at as raw_occurred_at,
        source.status_changed_at as raw_status_changed_at,
        source.recorded_at as raw_recorded_at
    from in_utc as source
    left join currencies
        on
            coalesce(
                nullif(source.currency, ''),
                {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }}
            ) = currencies.currency
    left join reasons
        on
            source.reason = reasons.reason
            and source.style = reasons.style

),

{# The number of the first rule that the row breaks. #}
numbered as (

    select
        *,
        case
            {%- for rule in transfer_rules() %}
            when {{ rule["condition"] }} then {{ rule["number"] }}
            {%- endfor %}
        end as broken_rule
    from typed
    where {{ is_of_run("entry_id") }}

),

judged as (

    select
        {{ columns | join(", ") }},
        case broken_rule
            {%- for rule in transfer_rules() %}
            when {{ rule["number"] }} then '{{ rule["code"] }}'
            {%- endfor %}
        end as rejection_code,
        case broken_rule
            {%- for rule in transfer_rules() %}
            when {{ rule["number"] }} then '{{ rule["column"] }}'
            {%- endfor %}
        end as rejected_column,
        case broken_rule
            {%- for rule in transfer_rules() if rule["column"] %}
            when {{ rule["number"] }} then {{ rule["value"] }}
            {%- endfor %}
        end as rejected_value,
        case when broken_rule is not null then raw_points end as raw_points,
        case when broken_rule is not null then raw_occurred_at end as raw_occurred_at,
        case when broken_rule is not null then raw_status_changed_at end as raw_status_changed_at,
        file,
        line
    from numbered

)

select * from judged
