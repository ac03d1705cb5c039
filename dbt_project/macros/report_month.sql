{#- The month rule (DESIGN.md, section 6), which stands nowhere else: the report month of an instant is its
    month in the programme's zone; where months start on another day than the first, the month named
    2026-10 runs from that day of October to the day before it in November. -#}

{% macro report_month(instant) %}
    {%- set local_date = "cast(" ~ utc_to_local(instant) ~ " as date)" -%}
    {%- if month_start_day() > 1 -%}
        {%- set local_date = dbt.dateadd("day", 1 - month_start_day(), local_date) -%}
    {%- endif -%}
    cast({{ dbt.date_trunc("month", local_date) }} as date)
{%- endmacro %}


{#- The first day of the period that a report month names. -#}
{% macro period_start_date(report_month) -%}
    cast({{ dbt.dateadd("day", month_start_day() - 1, report_month) }} as date)
{%- endmacro %}


{#- The instant at which that period starts. -#}
{% macro period_starts_at(report_month) -%}
    {{ local_to_utc("cast(" ~ period_start_date(report_month) ~ " as timestamp)") }}
{%- endmacro %}


{% macro next_month(report_month) -%}
    cast({{ dbt.dateadd("month", 1, report_month) }} as date)
{%- endmacro %}


{#- The wall clock of the programme's zone at an instant (a timestamp in UTC). -#}
{% macro utc_to_local(instant) %}
    {%- if setting("POINTS_TIME_ZONE") == "UTC" -%}
        {{ instant }}
    {%- else -%}
        {{ adapter.dispatch("utc_to_local", "outstanding_points")(instant, setting("POINTS_TIME_ZONE")) }}
    {%- endif -%}
{% endmacro %}

{% macro default__utc_to_local(instant, zone) -%}
    timezone({{ dbt.string_literal(zone) }}, timezone('UTC', {{ instant }}))
{%- endmacro %}

{% macro spark__utc_to_local(instant, zone) -%}
    from_utc_timestamp({{ instant }}, {{ dbt.string_literal(zone) }})
{%- endmacro %}


{#- The instant at which the programme's wall clock shows a time. Engines differ on a repeated hour, so
    the zone's offset is tried as it is a day before and a day after: in a fold both fit and the earlier
    instant is taken; in a gap neither fits and the offset before it is. -#}
{% macro local_to_utc(wall_clock) %}
    {%- if setting("POINTS_TIME_ZONE") == "UTC" -%}
        {{ wall_clock }}
    {%- else -%}
        {%- set day_before = dbt.dateadd("day", -1, wall_clock) -%}
        {%- set day_after = dbt.dateadd("day", 1, wall_clock) -%}
        {%- set by_offset_before = shifted_by_offset(wall_clock, day_before) -%}
        {%- set by_offset_after = shifted_by_offset(wall_clock, day_after) -%}
        case
            when {{ utc_to_local(by_offset_before) }} = {{ wall_clock }} then {{ by_offset_before }}
            when {{ utc_to_local(by_offset_after) }} = {{ wall_clock }} then {{ by_offset_after }}
            else {{ by_offset_before }}
        end
    {%- endif -%}
{% endmacro %}


{#- A wall clock moved by the offset that the programme's zone has at an instant. -#}
{% macro shifted_by_offset(wall_clock, instant) -%}
    {{ adapter.dispatch("shifted_by_offset", "outstanding_points")(wall_clock, instant) }}
{%- endmacro %}

{% macro default__shifted_by_offset(wall_clock, instant) -%}
    ({{ wall_clock }} - ({{ utc_to_local(instant) }} - {{ instant }}))
{%- endmacro %}
