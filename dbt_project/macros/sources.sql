{#- Which it is shows only when a model runs, so while dbt parses the answer is the sample. -#}
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


{% macro transfer_columns() %}
    {{- return({
        "needed": ["transfer_id", "relation_reference", "style", "points", "reason", "occurred_at"],
        "optional": [
            "currency", "status", "status_changed_at", "reverses_transfer_id", "external_reference",
            "comment", "entry_id", "recorded_at", "recorded_by", "batch_id",
        ],
    }) -}}
{% endmacro %}


{% macro rows_of(source) %}
    {%- if not execute -%}{{- return("select 1 as not_yet_run") -}}{%- endif -%}
    {%- if source.is_cte -%}{#- given by a unit test -#}{{- return("select * from " ~ source) -}}{%- endif -%}
    {%- set node = graph.sources["source.outstanding_points." ~ source.schema ~ "." ~ source.identifier] -%}
    {%- set files = source_files(node) -%}
    {%- if files -%}
        {%- set there = run_query("select * from " ~ read_parquet(files) ~ " limit 0").column_names -%}
        {%- for name in node.columns if name not in there -%}
            {{ exceptions.raise_compiler_error(
                "HEADER: " ~ files[0] ~ " has no column '" ~ name
                ~ "', which these models read: other models wrote it, so use those, or close its month again."
            ) }}
        {%- endfor -%}
    {%- endif -%}
    {%- set lines = [] -%}
    {%- for column in node.columns.values() -%}
        {%- do lines.append(
            "cast(" ~ (column.name if files else "null") ~ " as " ~ column.data_type ~ ") as " ~ column.name
        ) -%}
    {%- endfor -%}
    {{- return(
        "select\n    " ~ lines | join(",\n    ")
        ~ ("\nfrom " ~ read_parquet(files) if files else "\nwhere 1 = 0")
    ) -}}
{% endmacro %}


{% macro source_files(node) %}
    {%- set setting_name = node.config.meta.get("setting") -%}
    {%- if setting_name and setting(setting_name) -%}
        {%- set files = files_at(setting(setting_name)) -%}
        {%- if not files -%}
            {{ exceptions.raise_compiler_error(
                setting_name ~ " names " ~ setting(setting_name) ~ ", but no file is there."
            ) }}
        {%- endif -%}
        {{- return(files) -}}
    {%- endif -%}
    {{- return(
        cut_files(node.name) if node.source_name == "ledger" and transfers_source() == "cut" else []
    ) -}}
{% endmacro %}


{% macro cut_files(part) %}
    {{- return(adapter.dispatch("cut_files", "outstanding_points")(part)) -}}
{% endmacro %}

{% macro default__cut_files(part) %}
    {{- return(files_matching(without_pattern(setting("POINTS_HOME") ~ "/cut/" ~ part) ~ "/*.parquet")) -}}
{% endmacro %}

{% macro spark__cut_files(part) %}
    {{- return([]) -}}
{% endmacro %}


{% macro created_columns(first_status="first_status") %}
    {{- return([
        "entry_id", "transfer_id", "relation_reference", "currency", "style", "points", "reason",
        first_status, "occurred_at", "recorded_at", "recorded_by", "reverses_transfer_id", "batch_id",
        "external_reference", "comment",
    ]) -}}
{% endmacro %}
