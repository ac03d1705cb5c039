{% macro raw_transfers(source) %}
    {%- if not execute -%}{{- return("select 1 as not_yet_run") -}}{%- endif -%}
    {%- if transfers_source() == "file" -%}
        {{- return(adapter.dispatch("raw_transfers_file", "outstanding_points")(setting("POINTS_TRANSFERS"))) -}}
    {%- endif -%}
    {{- return(rows_of(source)) -}}
{% endmacro %}


{% macro spark__raw_transfers_file(path) %}
    {%- if not path.endswith(".parquet") -%}
        {{ exceptions.raise_compiler_error(
            "POINTS_TRANSFERS names " ~ path ~ ", but on Spark transfers are read from Parquet alone."
        ) }}
    {%- endif -%}
    {%- for file in spark_files(path) if columns_said_by(file) -%}
        {%- do raw_columns_of_parquet(file, read_parquet([file])) -%}
    {%- endfor -%}
    {{- return(raw_transfers_select(
        path, read_parquet([path]), raw_columns_of_parquet(path, read_parquet([path])), "false"
    )) -}}
{% endmacro %}

{% macro default__raw_transfers_file(path) %}
    {%- set files = [] -%}
    {%- for file in files_at(path)
        if modules.re.search("[.](parquet|csv|csv[.]gz)$", file | lower) -%}
        {%- do files.append(file) -%}
    {%- endfor -%}
    {%- if not files -%}
        {{ exceptions.raise_compiler_error(
            "POINTS_TRANSFERS names " ~ path ~ ", but no CSV, CSV.gz or Parquet file is there."
        ) }}
    {%- endif -%}
    {%- set selects = [] -%}
    {%- for file in files -%}
        {%- if (file | lower).endswith(".parquet") -%}
            {%- set relation = read_parquet([file]) -%}
            {%- do selects.append(
                raw_transfers_select(file, relation, raw_columns_of_parquet(file, relation), "false")
            ) -%}
        {%- else -%}
            {%- do selects.append(raw_transfers_of_csv(file)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{- return(selects | join("\nunion all\n")) -}}
{% endmacro %}

{% macro raw_transfers_select(file, relation, columns, has_wrong_field_count) %}
    {%- set lines = [] -%}
    {%- for name in transfer_columns()["needed"] + transfer_columns()["optional"] -%}
        {%- if name in columns -%}
            {%- do lines.append("coalesce(" ~ columns[name] ~ ", '') as " ~ name) -%}
        {%- else -%}
            {%- do lines.append("cast(null as string) as " ~ name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do lines.append(has_wrong_field_count ~ " as has_wrong_field_count") -%}
    {%- do lines.append(dbt.string_literal(dbt.escape_single_quotes(file.split("/")[-1])) ~ " as file") -%}
    {%- do lines.append("cast(null as bigint) as line") -%}
    {{- return("select\n    " ~ lines | join(",\n    ") ~ "\nfrom " ~ relation) -}}
{% endmacro %}


{% macro check_header(file, names) %}
    {%- set known = transfer_columns()["needed"] + transfer_columns()["optional"] -%}
    {%- for name in names if name not in known and name | trim | lower in known -%}
        {{ exceptions.raise_compiler_error(
            "HEADER: " ~ file ~ " has a column '" ~ name ~ "'; write it '" ~ name | trim | lower ~ "'."
        ) }}
    {%- endfor -%}
    {%- for name in names if name not in known -%}
        {{ exceptions.raise_compiler_error(
            "HEADER: " ~ file ~ " has a column '" ~ name ~ "', which a file of transfers does not have; the columns are "
            ~ known | join(", ") ~ "."
        ) }}
    {%- endfor -%}
    {%- for name in names if names.count(name) > 1 -%}
        {{ exceptions.raise_compiler_error("HEADER: " ~ file ~ " has the column '" ~ name ~ "' twice.") }}
    {%- endfor -%}
    {%- for name in columns_said_by(file) if name not in names -%}
        {{ exceptions.raise_compiler_error(
            "HEADER: " ~ file ~ " has no column '" ~ name ~ "', though its path says " ~ name
            ~ "=…, and nothing is taken from a name; write the column into the file, or move the file."
        ) }}
    {%- endfor -%}
    {%- for name in transfer_columns()["needed"] if name not in names -%}
        {{ exceptions.raise_compiler_error(
            "HEADER: " ~ file ~ " has no column '" ~ name ~ "'; needed are "
            ~ transfer_columns()["needed"] | join(", ") ~ "."
        ) }}
    {%- endfor -%}
{% endmacro %}


{% macro columns_said_by(path) %}
    {%- set absolute = path if ":/" in path or path.startswith("/") else invocation_args_dict["project_dir"] ~ "/" ~ path -%}
    {%- set known = transfer_columns()["needed"] + transfer_columns()["optional"] -%}
    {%- set keys = [] -%}
    {%- for part in absolute.split("/") if "=" in part and part.split("=")[0] | trim | lower in known -%}
        {%- do keys.append(part.split("=")[0] | trim | lower) -%}
    {%- endfor -%}
    {{- return(keys) -}}
{% endmacro %}


{% macro raw_columns_of_parquet(file, relation) %}
    {%- set counts = value_counts(relation) -%}
    {%- set described = [] -%}
    {%- for column in adapter.get_column_schema_from_query("select * from " ~ relation)
        if counts[column.name] or not counts[""] -%}
        {%- do described.append(column) -%}
    {%- endfor -%}
    {%- do check_header(file, described | map(attribute="name") | list) -%}
    {%- set columns = {} -%}
    {%- for column in described -%}
        {%- set type = column.dtype | lower -%}
        {%- set is_text = type.startswith("varchar") or type == "string" -%}
        {%- set is_integer = type in ["tinyint", "smallint", "integer", "int", "bigint", "hugeint",
            "utinyint", "usmallint", "uinteger", "ubigint"] -%}
        {%- set is_decimal = modules.re.fullmatch("(decimal|numeric)[(][0-9]+, ?[0-4][)]", type) -%}
        {%- if not counts[""] -%}
            {%- set text = "cast(null as string)" -%}
        {%- elif is_text -%}
            {%- set text = column.name -%}
        {%- elif column.name in ["points", "entry_id"] and (is_integer or is_decimal) -%}
            {%- set text = "cast(" ~ column.name ~ " as string)" -%}
        {%- elif column.name in ["occurred_at", "status_changed_at", "recorded_at"]
            and type.startswith("timestamp") -%}
            {%- set text = text_of_timestamp(column.name, type) -%}
        {%- else -%}
            {{ exceptions.raise_compiler_error(
                "HEADER: in " ~ file ~ " the column '" ~ column.name ~ "' is of type " ~ column.dtype
                ~ "; points are text, an integer or a decimal of at most four places, instants text or"
                ~ " timestamps, the others text."
            ) }}
        {%- endif -%}
        {%- do columns.update({column.name: text}) -%}
    {%- endfor -%}
    {{- return(columns) -}}
{% endmacro %}

{% macro value_counts(relation) %}
    {%- set names = adapter.get_column_schema_from_query("select * from " ~ relation) | map(attribute="name") | list -%}
    {%- set counts = ["count(*)"] -%}
    {%- for name in names -%}
        {%- do counts.append("count(" ~ adapter.quote(name) ~ ")") -%}
    {%- endfor -%}
    {%- set counted = run_query("select " ~ counts | join(", ") ~ " from " ~ relation).rows[0] -%}
    {%- set found = {} -%}
    {%- for name in [""] + names -%}
        {%- do found.update({name: counted[loop.index0]}) -%}
    {%- endfor -%}
    {{- return(found) -}}
{% endmacro %}

{% macro text_of_timestamp(column, type) %}
    {{- return(adapter.dispatch("text_of_timestamp", "outstanding_points")(column, type)) -}}
{% endmacro %}

{% macro default__text_of_timestamp(column, type) %}
    {%- if "time zone" in type or type == "timestamptz" -%}
        {{- return("cast(timezone('UTC', " ~ column ~ ") as string) || 'Z'") -}}
    {%- endif -%}
    {{- return("cast(cast(" ~ column ~ " as timestamp) as string)") -}}
{% endmacro %}

{% macro spark__text_of_timestamp(column, type) %}
    {%- set text = "date_format(" ~ column ~ ", 'yyyy-MM-dd HH:mm:ss.SSSSSS')" -%}
    {{- return(text if type == "timestamp_ntz" else text ~ " || 'Z'") -}}
{% endmacro %}


{#- Every row is padded to more columns than the header has, with a value that no field can be: so a row that is
    too short or too long is read and recognised (F7), while bytes that are not UTF-8 still stop the reader (F3).
    The padding rules out the parallel reader wherever a quoted field holds a line break. -#}
{% macro raw_transfers_of_csv(file) %}
    {%- set names = header_of_csv(file) -%}
    {%- do check_header(file, names) -%}
    {%- do check_quotes(file) -%}
    {%- set surplus = ["surplus_1", "surplus_2", "surplus_3", "surplus_4"] -%}
    {%- set texts = {} -%}
    {%- for name in names -%}
        {%- do texts.update({name: text_as_written(name) if name in free_texts() else name}) -%}
    {%- endfor -%}
    {{- return(raw_transfers_select(
        file, read_csv(file, names + surplus), texts, "(" ~ names[-1] ~ " is null or surplus_1 is not null)"
    )) -}}
{% endmacro %}


{% macro free_texts() %}
    {{- return(["comment", "external_reference", "recorded_by", "batch_id"]) -}}
{% endmacro %}

{#- As ledger/spreadsheet_text.py does it for the import. -#}
{% macro text_as_written(text) %}
    {%- set patterns = var("spreadsheet_patterns") -%}
    {%- set formula = dbt.string_literal(dbt.escape_single_quotes(patterns["cell"] ~ "'" ~ patterns["formula"])) -%}
    {%- set blank = dbt.string_literal(dbt.escape_single_quotes("^'" ~ patterns["blank"])) -%}
    {{- return(
        "regexp_replace(regexp_replace(" ~ text ~ ", " ~ formula ~ ", '\\1\\2', 'g'), " ~ blank ~ ", '\\1')"
    ) -}}
{% endmacro %}


{#- DuckDB's reader, which takes line ends of any kinds only where it is not strict, would drop what follows
    without a word. A line that begins within a field is looked at as if its quote opened there. -#}
{% macro check_quotes(file) %}
    {%- set field = '(?:"(?:[^"]|"")*" *|[^",][^,]*|)' -%}
    {%- set is_whole = "regexp_full_match(case when is_within then '\"' else '' end || line, '"
        ~ field ~ "(?:," ~ field ~ ")*(?:,?\"(?:[^\"]|\"\")*)?')" -%}
    {%- set found = run_query(
        "with numbered as (select row_number() over () as line_number, line,"
        ~ " length(line) - length(replace(line, '\"', '')) as quotes from " ~ read_lines(file) ~ "),"
        ~ " counted as (select *, sum(quotes) over (rows unbounded preceding) as quotes_so_far"
        ~ " from numbered where quotes > 0),"
        ~ " looked_at as (select *, (quotes_so_far - quotes) % 2 = 1 as is_within from counted)"
        ~ " select min(line_number) filter (not (" ~ is_whole ~ ")) as going_on,"
        ~ " max(line_number) filter (quotes_so_far % 2 = 1 and not is_within) as opened,"
        ~ " coalesce(max_by(quotes_so_far % 2 = 1, line_number), false) as is_open from looked_at"
    ).rows[0] -%}
    {%- if found["going_on"] is not none -%}
        {{ exceptions.raise_compiler_error(
            "QUOTE: in " ~ file ~ ", line " ~ found["going_on"] ~ ", a field goes on behind its closing quote;"
            ~ " double the quotes within it."
        ) }}
    {%- elif found["is_open"] -%}
        {{ exceptions.raise_compiler_error(
            "QUOTE: in " ~ file ~ ", line " ~ found["opened"] ~ ", a quote opens and never closes; close it or double it."
        ) }}
    {%- endif -%}
{% endmacro %}


{% macro header_of_csv(file) %}
    {%- set first_line = run_query("select line from " ~ read_lines(file) ~ " limit 1") -%}
    {%- if not first_line.rows -%}
        {{ exceptions.raise_compiler_error("FILE_EMPTY: " ~ file ~ " is empty; not even a header is there.") }}
    {%- endif -%}
    {%- set line = (first_line.columns["line"].values()[0] or "") | trim -%}
    {%- if line == "" -%}
        {{ exceptions.raise_compiler_error("HEADER: the first line of " ~ file ~ " is blank; begin with the header.") }}
    {%- endif -%}
    {%- for delimiter, word in [(";", "semicolons"), ("\t", "tabs")] if delimiter in line and "," not in line -%}
        {{ exceptions.raise_compiler_error(
            "HEADER: " ~ file ~ " separates its columns by " ~ word ~ "; save it with commas."
        ) }}
    {%- endfor -%}
    {%- set names = [] -%}
    {%- for name in line.split(",") -%}
        {%- do names.append(name.strip('"')) -%}
    {%- endfor -%}
    {{- return(names) -}}
{% endmacro %}
