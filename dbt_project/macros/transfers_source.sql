{#- Where the transfers come from: rows of files that a run has read ('rows'), the file, folder or glob that
    POINTS_TRANSFERS names ('file'), the cut in POINTS_HOME ('cut'), or the seed ('sample'). Which it is shows
    only when a model runs, so while dbt parses the answer is the sample. -#}
{% macro transfers_source() %}
    {%- if setting("POINTS_TRANSFER_ROWS") -%}
        {{- return("rows") -}}
    {%- endif -%}
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


{#- The Parquet segments of one part of the cut in POINTS_HOME, in the order of their names. Spark reads a
    relation where a setting names it, and only there. -#}
{% macro cut_files(part) %}
    {{- return(adapter.dispatch("cut_files", "outstanding_points")(part)) -}}
{% endmacro %}

{% macro default__cut_files(part) %}
    {{- return(files_matching(without_pattern(setting("POINTS_HOME") ~ "/cut/" ~ part) ~ "/*.parquet")) -}}
{% endmacro %}

{% macro spark__cut_files(part) %}
    {{- return([]) -}}
{% endmacro %}


{#- An optional relation: what a setting names; else its part of the cut, where the transfers come from
    the cut too; else nothing. `columns` maps each column to its type. -#}
{% macro optional_relation(setting_name, part, columns) %}
    {%- set files = files_at(setting(setting_name)) if setting(setting_name) else [] -%}
    {%- if execute and setting(setting_name) and not files -%}
        {{ exceptions.raise_compiler_error(
            setting_name ~ " names " ~ setting(setting_name) ~ ", but no file is there."
        ) }}
    {%- endif -%}
    {%- if not setting(setting_name) and part and transfers_source() == "cut" -%}
        {%- set files = cut_files(part) -%}
    {%- endif -%}
    {%- if files and execute -%}
        {%- set relation = read_parquet(files) -%}
        {%- set there = run_query("select * from " ~ relation ~ " limit 0").column_names -%}
        {%- for name in columns if name not in there -%}
            {{ exceptions.raise_compiler_error(
                "HEADER: " ~ files[0] ~ " has no column '" ~ name
                ~ "', which these models read: other models wrote it, so use those, or close its month again."
            ) }}
        {%- endfor -%}
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
