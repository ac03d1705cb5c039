{#- The one place where the models read files, with every option set explicitly. By default engines take columns
    from a path (currency=MILES/), patterns from a name (a[1].csv) and types from a file's first rows;
    content comes from content alone (docs/design.md, section 4; docs/cases.md, F18).
    ledger/data_files.py says the same to Python. -#}


{% macro read_parquet(files) %}
    {{- return(adapter.dispatch("read_parquet", "outstanding_points")(files)) -}}
{% endmacro %}

{% macro default__read_parquet(files) %}
    {{- return(
        "read_parquet(" ~ file_names(files) ~ ", union_by_name = true, file_row_number = false, filename = false,"
        ~ " hive_partitioning = false, hive_types_autocast = false, binary_as_string = false)"
    ) -}}
{% endmacro %}

{% macro spark__read_parquet(files) %}
    {%- if files | length != 1 -%}
        {{ exceptions.raise_compiler_error("Spark reads one Parquet file or folder, not " ~ files | length ~ ".") }}
    {%- endif -%}
    {#- A recursive lookup is what infers no columns from folders. -#}
    {{- return("parquet.`" ~ files[0] ~ "` with (recursiveFileLookup = 'true', mergeSchema = 'true')") -}}
{% endmacro %}


{#- Not strict, DuckDB takes line ends of two kinds in one file; what it then passes over is looked for before
    (`check_quotes`). -#}
{% macro read_csv(file, names) %}
    {{- return(csv_rows(file, names)) -}}
{% endmacro %}


{% macro read_lines(file) %}
    {{- return(csv_rows(file, ["line"], header="false", delimiter="\x02", quote="", null_text="")) -}}
{% endmacro %}


{#- dbt-duckdb's own macro reads the path as a pattern: in a checkout below a[1]/ it would load the rules of the
    one below a1/. -#}
{% macro duckdb__load_csv_rows(model, agate_table) %}
    {%- set statement = "insert into " ~ this.render() ~ " from "
        ~ csv_rows(adapter.get_seed_file_path(model), agate_table.column_names, null_text="") -%}
    {%- do adapter.add_query(statement, abridge_sql_log=True) -%}
    {{- return(statement) -}}
{% endmacro %}


{% macro csv_rows(file, names, header="true", delimiter=",", quote='"', null_text="\x01") %}
    {%- set columns = [] -%}
    {%- for name in names -%}
        {%- do columns.append(dbt.string_literal(name) ~ ": 'varchar'") -%}
    {%- endfor -%}
    {{- return(
        "read_csv(" ~ file_names([file]) ~ ", auto_detect = false, columns = {" ~ columns | join(", ") ~ "},"
        ~ " header = " ~ header ~ ", skip = 0, delim = '" ~ delimiter ~ "', quote = '" ~ quote ~ "',"
        ~ " escape = '" ~ quote ~ "', comment = '', nullstr = '" ~ null_text ~ "', encoding = 'utf-8',"
        ~ " compression = '" ~ ("gzip" if (file | lower).endswith(".gz") else "none") ~ "',"
        ~ " strict_mode = false, ignore_errors = false, store_rejects = false, null_padding = true,"
        ~ " parallel = false, max_line_size = 67108864, buffer_size = 67108864, union_by_name = false,"
        ~ " normalize_names = false, filename = false, hive_partitioning = false, hive_types_autocast = false)"
    ) -}}
{% endmacro %}


{% macro file_names(files) %}
    {%- set names = [] -%}
    {%- for file in files -%}
        {%- do names.append(dbt.string_literal(dbt.escape_single_quotes(without_pattern(file)))) -%}
    {%- endfor -%}
    {{- return("[" ~ names | join(", ") ~ "]") -}}
{% endmacro %}

{% macro without_pattern(path) %}
    {{- return(modules.re.sub("([*?[])", "[\\1]", path)) -}}
{% endmacro %}


{% macro files_at(location) %}
    {{- return(adapter.dispatch("files_at", "outstanding_points")(location)) -}}
{% endmacro %}

{% macro default__files_at(location) %}
    {%- set itself = without_pattern(location) -%}
    {{- return(
        files_matching(itself) or files_matching(itself ~ "/**/*") or files_matching(location)
    ) -}}
{% endmacro %}

{% macro spark__files_at(location) %}
    {{- return([location]) -}}
{% endmacro %}


{% macro files_matching(pattern) %}
    {%- if not execute -%}{{- return([]) -}}{%- endif -%}
    {{- return(
        run_query("select file from glob(" ~ dbt.string_literal(dbt.escape_single_quotes(pattern)) ~ ") order by file")
        .columns["file"].values() | list
    ) -}}
{% endmacro %}


{% macro spark_files(location) %}
    {%- set found = run_query(
        "select distinct url_decode(replace(_metadata.file_path, '+', '%2B')) as file from "
        ~ read_parquet([location])
    ).columns["file"].values() -%}
    {%- set files = [] -%}
    {%- for file in found -%}
        {%- do files.append(modules.re.sub("([][*?{}\\\\])", "\\\\\\1", file)) -%}
    {%- endfor -%}
    {{- return(files | sort) -}}
{% endmacro %}
