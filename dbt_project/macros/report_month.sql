{#- The month rule (docs/design.md, section 6), which stands nowhere else: the report month of an
    instant is its month in the programme's zone. Where months start on another day than the first,
    the local date is moved back by that many days less one: with start day 16, 2026-11-15 becomes
    2026-10-31, so it belongs to 2026-10, and 2026-11-16 becomes 2026-11-01. -#}

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


{% macro next_month(report_month) -%}
    cast({{ dbt.dateadd("month", 1, report_month) }} as date)
{%- endmacro %}
