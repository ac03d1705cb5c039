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


{#- A text that matches the pattern of instants and names an offset, as a timestamp in UTC; null where
    there is no such day. -#}
{% macro instant_with_offset(text) -%}
    {{ adapter.dispatch("instant_with_offset", "outstanding_points")(text) }}
{%- endmacro %}

{% macro default__instant_with_offset(text) -%}
    timezone('UTC', try_cast({{ text }} as timestamptz))
{%- endmacro %}

{% macro spark__instant_with_offset(text) -%}
    try_cast({{ text }} as timestamp)
{%- endmacro %}


{#- Ends the statement with a sentence. For use in a branch of a case. -#}
{% macro raise(sentence) -%}
    {{ adapter.dispatch("raise", "outstanding_points")(sentence) }}
{%- endmacro %}

{% macro default__raise(sentence) -%}
    error({{ sentence }})
{%- endmacro %}

{% macro spark__raise(sentence) -%}
    raise_error({{ sentence }})
{%- endmacro %}


{#- The greater and the lesser of two values, the other where one is null: of engines' own functions some
    skip a null and some return it. -#}
{% macro greatest_of(left, right) -%}
    case when {{ left }} is null or {{ right }} > {{ left }} then {{ right }} else {{ left }} end
{%- endmacro %}

{% macro least_of(left, right) -%}
    case when {{ left }} is null or {{ right }} < {{ left }} then {{ right }} else {{ left }} end
{%- endmacro %}


{#- The texts of a group, in order and with spaces between them; null where there is none. -#}
{% macro texts_in_order(text) -%}
    {{ adapter.dispatch("texts_in_order", "outstanding_points")(text) }}
{%- endmacro %}

{% macro default__texts_in_order(text) -%}
    {{ dbt.listagg(text, "' '", "order by " ~ text) }}
{%- endmacro %}

{% macro spark__texts_in_order(text) -%}
    nullif(array_join(array_sort(collect_list({{ text }})), ' '), '')
{%- endmacro %}


{#- Takes the place of dbt-spark's own, which loses fractions of a second and writes each date out six times:
    nested, as the month rule nests it, Spark's planner drowns in it. -#}
{% macro spark__dateadd(datepart, interval, from_date_or_timestamp) -%}
    timestampadd({{ datepart }}, {{ interval }}, {{ from_date_or_timestamp }})
{%- endmacro %}


{#- How a model is kept that recursive ones read: DuckDB works it out once for each query, Spark again at
    every step of the recursion, so there it is a table. -#}
{% macro view_unless_recomputed() %}
    {{- return(adapter.dispatch("view_unless_recomputed", "outstanding_points")()) -}}
{% endmacro %}

{% macro default__view_unless_recomputed() %}
    {{- return("view") -}}
{% endmacro %}

{% macro spark__view_unless_recomputed() %}
    {{- return("table") -}}
{% endmacro %}
