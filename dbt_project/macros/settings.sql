{#- Every setting that the models know, with its default. A setting is an environment variable, so that a
    change re-parses only the models that read it. ledger/settings.py declares each. -#}

{% macro setting(name) %}
    {%- set defaults = {
        "POINTS_HOME": "var",
        "POINTS_TRANSFERS": "",
        "POINTS_TRANSFER_ROWS": "",
        "POINTS_STATUS_CHANGES": "",
        "POINTS_ACCOUNT_EVENTS": "",
        "POINTS_CLOSES": "",
        "POINTS_OPENING_BALANCES": "",
        "POINTS_OPENING_CUTOFF": "",
        "POINTS_UNPOSTED_TRANSFERS": "",
        "POINTS_RELATED_TRANSFERS": "",
        "POINTS_RELATED_STATUS_CHANGES": "",
        "POINTS_UPTO_ENTRY_ID": "",
        "POINTS_TIME_ZONE": "UTC",
        "POINTS_ZONE_CHANGES": "",
        "POINTS_MONTH_START_DAY": "1",
        "POINTS_DEFAULT_CURRENCY": "POINTS",
        "POINTS_FIRST_MONTH": "",
        "POINTS_THROUGH_MONTH": "",
    } -%}
    {{- return(env_var(name, defaults[name])) -}}
{% endmacro %}


{% macro month_start_day() %}
    {%- set text = setting("POINTS_MONTH_START_DAY") -%}
    {%- if text not in range(1, 29) | map("string") | list -%}
        {{ exceptions.raise_compiler_error(
            "POINTS_MONTH_START_DAY is '" ~ text ~ "', but a report month starts on a day from 1 to 28."
        ) }}
    {%- endif -%}
    {{- return(text | int) -}}
{% endmacro %}


{% macro month_setting(name) %}
    {%- set text = setting(name) -%}
    {%- if text == "" -%}
        {{- return("cast(null as date)") -}}
    {%- endif -%}
    {%- if not modules.re.fullmatch(var("transfer_patterns")["month"], text, modules.re.ASCII) -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is '" ~ text ~ "', but a report month is written YYYY-MM, like 2026-10."
        ) }}
    {%- endif -%}
    {{- return("cast('" ~ text ~ "-01' as date)") -}}
{% endmacro %}


{% macro opening_cutoff() %}
    {{- return(entry_id_setting("POINTS_OPENING_CUTOFF", -1)) -}}
{% endmacro %}


{% macro upto_entry_id() %}
    {%- set number = entry_id_setting("POINTS_UPTO_ENTRY_ID", 9223372036854775807) -%}
    {%- if number < opening_cutoff() -%}
        {{ exceptions.raise_compiler_error(
            "POINTS_UPTO_ENTRY_ID is " ~ number ~ ", but the opening balances hold entries up to "
            ~ opening_cutoff() ~ "; name a later entry, or balances of an earlier month."
        ) }}
    {%- endif -%}
    {{- return(number) -}}
{% endmacro %}


{% macro entry_id_setting(name, unset) %}
    {%- set text = setting(name) -%}
    {%- if text and not modules.re.fullmatch("[0-9]{1,18}", text, modules.re.ASCII) -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is '" ~ text ~ "', but an entry_id is a whole number."
        ) }}
    {%- endif -%}
    {{- return(text | int if text else unset) -}}
{% endmacro %}


{% macro is_known_to_run(entry_id) -%}
    coalesce({{ entry_id }} <= {{ upto_entry_id() }}, true)
{%- endmacro %}


{% macro is_of_run(entry_id) -%}
    coalesce({{ entry_id }} > {{ opening_cutoff() }} and {{ entry_id }} <= {{ upto_entry_id() }}, true)
{%- endmacro %}
