{#- The month rule (docs/design.md, section 6), which stands nowhere else: the report month of an
    instant is its month in the programme's zone; where months start on another day than the first,
    the month named 2026-10 runs from that day of October to the day before it in November. -#}

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
