
{% macro report_month(instant) %}
    {%- set local_date = "cast(" ~ utc_to_local(instant) ~ " as date)" -%}
    {%- if month_start_day() > 1 -%}
        {%- set local_date = dbt.dateadd("day", 1 - month_start_day(), local_date) -%}
    {%- endif -%}
    cast({{ dbt.date_trunc("month", local_date) }} as date)
{%- endmacro %}


{% macro period_start_date(report_month) -%}
    cast({{ dbt.dateadd("day", month_start_day() - 1, report_month) }} as date)
{%- endmacro %}


{% macro next_month(report_month) -%}
    cast({{ dbt.dateadd("month", 1, report_month) }} as date)
{%- endmacro %}
