{#- dbt-spark's own macro puts the values between quotes as they are: an empty one becomes the word None, and a
    quote in one ends the statement. -#}
{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set types = model["config"].get("column_types", {}) -%}
    {%- set statements = [] -%}
    {%- for chunk in agate_table.rows | batch(get_batch_size()) -%}
        {%- set rows = [] -%}
        {%- for row in chunk -%}
            {%- set values = [] -%}
            {%- for column in agate_table.column_names -%}
                {%- set type = types.get(column, adapter.convert_type(agate_table, loop.index0)) -%}
                {%- do values.append("cast(" ~ spark_literal(row[loop.index0]) ~ " as " ~ type ~ ")") -%}
            {%- endfor -%}
            {%- do rows.append("(" ~ values | join(", ") ~ ")") -%}
        {%- endfor -%}
        {%- set statement = "insert into " ~ this.render() ~ " values\n" ~ rows | join(",\n") -%}
        {%- do adapter.add_query(statement, abridge_sql_log=True) -%}
        {%- do statements.append(statement) -%}
    {%- endfor -%}
    {{- return(statements | first) -}}
{% endmacro %}


{#- In Spark's literals a backslash escapes. -#}
{% macro spark_literal(value) %}
    {%- if value is none -%}{{- return("null") -}}{%- endif -%}
    {{- return("'" ~ value | string | replace("\\", "\\\\") | replace("'", "\\'") ~ "'") -}}
{% endmacro %}
