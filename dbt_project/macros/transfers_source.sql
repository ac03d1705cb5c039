{#- Where the transfers come from: the file, folder or glob that POINTS_TRANSFERS names ('file'), the cut
    in POINTS_HOME ('cut'), or the seed ('sample'). Which it is shows only when a model runs, so while
    dbt parses the answer is the sample. -#}
{% macro transfers_source() %}
    {%- if setting("POINTS_TRANSFERS") -%}
        {{- return("file") -}}
    {%- elif execute and cut_files("transfers") -%}
        {{- return("cut") -}}
    {%- endif -%}
    {{- return("sample") -}}
{% endmacro %}


{#- The columns of a file of raw transfers (DESIGN.md, section 5), and those that a ledger adds. -#}
{% macro transfer_columns() %}
    {{- return({
        "needed": ["transfer_id", "relation_reference", "style", "points", "reason", "occurred_at"],
        "optional": [
            "currency", "status", "status_changed_at", "reverses_transfer_id", "external_reference",
            "comment", "entry_id", "recorded_at", "recorded_by", "batch_id",
        ],
    }) -}}
{% endmacro %}


{#- The Parquet segments of one part of the cut in POINTS_HOME, in the order of their names. -#}
{% macro cut_files(part) %}
    {{- return(adapter.dispatch("files_named", "outstanding_points")(
        setting("POINTS_HOME") ~ "/cut/" ~ part ~ "/*.parquet"
    )) -}}
{% endmacro %}

{% macro default__files_named(pattern) %}
    {%- if not execute -%}{{- return([]) -}}{%- endif -%}
    {{- return(
        run_query("select file from glob(" ~ dbt.string_literal(dbt.escape_single_quotes(pattern)) ~ ") order by file")
        .columns["file"].values() | list
    ) -}}
{% endmacro %}

{#- Spark cannot list files in SQL: there a relation is read where a setting names it, and only there. -#}
{% macro spark__files_named(pattern) %}
    {{- return([]) -}}
{% endmacro %}


{#- A query over Parquet files whose columns are named alike. -#}
{% macro read_parquet(files) %}
    {{- return(adapter.dispatch("read_parquet", "outstanding_points")(files)) -}}
{% endmacro %}

{% macro default__read_parquet(files) %}
    {%- set literals = [] -%}
    {%- for file in files -%}
        {%- do literals.append(dbt.string_literal(dbt.escape_single_quotes(file))) -%}
    {%- endfor -%}
    {{- return("read_parquet([" ~ literals | join(", ") ~ "], union_by_name = true)") -}}
{% endmacro %}

{% macro spark__read_parquet(files) %}
    {%- if files | length != 1 -%}
        {{ exceptions.raise_compiler_error("Spark reads one Parquet file or folder, not " ~ files | length ~ ".") }}
    {%- endif -%}
    {{- return("parquet.`" ~ files[0] ~ "`") -}}
{% endmacro %}


{#- An optional relation: what a setting names; else its part of the cut, where the transfers come from
    the cut too; else nothing. `columns` maps each column to its type. -#}
{% macro optional_relation(setting_name, part, columns) %}
    {%- set files = [setting(setting_name)] if setting(setting_name) else [] -%}
    {%- if not files and part and transfers_source() == "cut" -%}
        {%- set files = cut_files(part) -%}
    {%- endif -%}
    select
        {%- for name, type in columns.items() %}
        cast({{ name if files else "null" }} as {{ type }}) as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    {%- if files %}
    from {{ read_parquet(files) }}
    {%- else %}
    where 1 = 0
    {%- endif %}
{% endmacro %}
