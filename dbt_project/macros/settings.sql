{#- Every setting that the models know, with its default. A setting is an environment variable, so that a
    change re-parses only the models that read it. .env.example describes each. -#}

{% macro setting(name) %}
    {%- set defaults = {
        "POINTS_HOME": "var",
        "POINTS_TRANSFERS": "",
        "POINTS_STATUS_CHANGES": "",
        "POINTS_ACCOUNT_EVENTS": "",
        "POINTS_CLOSES": "",
        "POINTS_OPENING_BALANCES": "",
        "POINTS_OPENING_CUTOFF": "",
        "POINTS_UNPOSTED_TRANSFERS": "",
        "POINTS_ORIGINALS": "",
        "POINTS_TIME_ZONE": "UTC",
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


{#- The first day of the month that a setting names, as a date literal; a null date where it is not set. -#}
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


{#- The highest entry that the opening balances already hold, as a number; -1 where none are handed in. -#}
{% macro opening_cutoff() %}
    {%- set text = setting("POINTS_OPENING_CUTOFF") -%}
    {%- if text and not modules.re.fullmatch("[0-9]+", text, modules.re.ASCII) -%}
        {{ exceptions.raise_compiler_error(
            "POINTS_OPENING_CUTOFF is '" ~ text ~ "', but an entry_id is a whole number."
        ) }}
    {%- endif -%}
    {{- return((text or "-1") | int) -}}
{% endmacro %}
