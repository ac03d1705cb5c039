{#- What one engine spells differently from another hides here. -#}

{% macro full_match(text, pattern) -%}
    {{ adapter.dispatch("full_match", "outstanding_points")(text, pattern) }}
{%- endmacro %}

{% macro default__full_match(text, pattern) -%}
    regexp_full_match({{ text }}, '{{ pattern }}')
{%- endmacro %}

{% macro spark__full_match(text, pattern) -%}
    ({{ text }} rlike r'\A(?:{{ pattern }})\z')
{%- endmacro %}


{% macro instant_with_offset(text) -%}
    {{ adapter.dispatch("instant_with_offset", "outstanding_points")(text) }}
{%- endmacro %}

{% macro default__instant_with_offset(text) -%}
    timezone('UTC', try_cast({{ text }} as timestamptz))
{%- endmacro %}

{% macro spark__instant_with_offset(text) -%}
    try_cast({{ text }} as timestamp)
{%- endmacro %}


{% macro raise(sentence) -%}
    {{ adapter.dispatch("raise", "outstanding_points")(sentence) }}
{%- endmacro %}

{% macro default__raise(sentence) -%}
    error({{ sentence }})
{%- endmacro %}

{% macro spark__raise(sentence) -%}
    raise_error({{ sentence }})
{%- endmacro %}


{% macro greatest_of(left, right) -%}
    case when {{ left }} is null or {{ right }} > {{ left }} then {{ right }} else {{ left }} end
{%- endmacro %}

{% macro least_of(left, right) -%}
    case when {{ left }} is null or {{ right }} < {{ left }} then {{ right }} else {{ left }} end
{%- endmacro %}


{% macro texts_in_order(text) -%}
    {{ adapter.dispatch("texts_in_order", "outstanding_points")(text) }}
{%- endmacro %}

{% macro default__texts_in_order(text) -%}
    {{ dbt.listagg(text, "' '", "order by " ~ text) }}
{%- endmacro %}

{% macro spark__texts_in_order(text) -%}
    nullif(array_join(array_sort(collect_list({{ text }})), ' '), '')
{%- endmacro %}


{#- dbt-spark's own loses fractions of a second and writes each date out six times: nested, as the month rule
    nests it, Spark's planner runs out of memory over it. -#}
{% macro spark__dateadd(datepart, interval, from_date_or_timestamp) -%}
    timestampadd({{ datepart }}, {{ interval }}, {{ from_date_or_timestamp }})
{%- endmacro %}


{#- DuckDB works a view out once for each query, Spark again at every step of a recursion. -#}
{% macro view_unless_recomputed() %}
    {{- return(adapter.dispatch("view_unless_recomputed", "outstanding_points")()) -}}
{% endmacro %}

{% macro default__view_unless_recomputed() %}
    {{- return("view") -}}
{% endmacro %}

{% macro spark__view_unless_recomputed() %}
    {{- return("table") -}}
{% endmacro %}
