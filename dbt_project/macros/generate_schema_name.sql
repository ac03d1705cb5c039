{#- One schema for the models of all folders: readers name a mart and nothing else. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.schema }}
{%- endmacro %}
