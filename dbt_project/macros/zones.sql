{#- The programme's zone. DuckDB's zone data decides, on every engine: its changes of offset are rendered into
    the models, and no engine looks up a zone (docs/design.md, section 6; docs/cases.md, X21).
    ledger/zones.py reads the same changes, for everything outside the models. -#}

{% macro utc_to_local(instant) %}
    {%- set zone = zone_changes() -%}
    {{- return(shifted(instant, 1, zone["changes"], zone["first_offset"])) -}}
{% endmacro %}


{#- A change of offset applies from the later of the two local times at it. In Berlin that is 03:00 both in March (02:00
    becomes 03:00) and in October (03:00 becomes 02:00). -#}
{% macro local_to_utc(wall_clock) %}
    {%- set zone = zone_changes() -%}
    {%- set shown = [] -%}
    {%- set before = namespace(offset=zone["first_offset"]) -%}
    {%- for change in zone["changes"] -%}
        {%- set later = modules.datetime.timedelta(seconds=[before.offset, change["offset"]] | max) -%}
        {%- do shown.append({"begins_at": change["begins_at"] + later, "offset": change["offset"]}) -%}
        {%- set before.offset = change["offset"] -%}
    {%- endfor -%}
    {{- return(shifted(wall_clock, -1, shown, zone["first_offset"])) -}}
{% endmacro %}


{% macro shifted(column, sign, changes, first_offset) %}
    {%- if not changes and first_offset == 0 -%}
        {{- return(column) -}}
    {%- endif -%}
    {%- set offset = first_offset -%}
    {%- if changes -%}
        {%- set offset = adapter.dispatch("offset_reached", "outstanding_points")(column, changes, first_offset) -%}
    {%- endif -%}
    {{- return(dbt.dateadd("second", sign ~ " * (" ~ offset ~ ")", column)) -}}
{% endmacro %}

{#- Found by halving: nine comparisons for four hundred changes. They are joined in pairs, then those pairs, until one
    is left. -#}
{% macro default__offset_reached(column, changes, first_offset) %}
    {%- set joined = namespace(
        offsets=[first_offset] + changes | map(attribute="offset") | list,
        begins=changes | map(attribute="begins_at") | list,
    ) -%}
    {%- for _ in changes if joined.begins -%}
        {%- set pairs = [] -%}
        {%- for pair in joined.offsets | batch(2) -%}
            {%- if pair | length == 1 -%}
                {%- do pairs.append(pair[0]) -%}
            {%- else -%}
                {%- do pairs.append(
                    "case when " ~ column ~ " < timestamp '" ~ joined.begins[2 * loop.index0] ~ "' then "
                    ~ pair[0] ~ " else " ~ pair[1] ~ " end"
                ) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set joined.offsets = pairs -%}
        {%- set joined.begins = joined.begins[1::2] -%}
    {%- endfor -%}
    {{- return(joined.offsets[0]) -}}
{% endmacro %}

{#- Spark takes a minute to parse that many nested cases, and its catalogue keeps no view so long. So the changes are
    lists: how many there are before a year, and those of the year that the column has reached. -#}
{% macro spark__offset_reached(column, changes, first_offset) %}
    {%- set epoch = modules.datetime.datetime(1970, 1, 1) -%}
    {%- set begins = [] -%}
    {%- set years = [] -%}
    {%- for change in changes -%}
        {%- do begins.append((change["begins_at"] - epoch).total_seconds() | int) -%}
        {%- do years.append(change["begins_at"].year) -%}
    {%- endfor -%}
    {%- set before_years = [] -%}
    {%- set in_years = [] -%}
    {%- for year in range(1989, 2201) -%}
        {%- do before_years.append(years | select("lt", year) | list | length) -%}
        {%- do in_years.append(years | select("eq", year) | list | length) -%}
    {%- endfor -%}
    {%- set offsets = [first_offset] + changes | map(attribute="offset") | list -%}
    {%- set before = "element_at(cast(split('" ~ before_years | join(",") ~ "', ',') as array<int>), year(" ~ column
        ~ ") - 1988)" -%}
    {{- return(
        "element_at(cast(split('" ~ offsets | join(",") ~ "', ',') as array<int>), 1 + " ~ before
        ~ " + size(filter(slice(cast(split('" ~ begins | join(",") ~ "', ',') as array<bigint>), 1 + " ~ before
        ~ ", " ~ in_years | max ~ "), begins_at -> begins_at <= unix_seconds(" ~ column ~ "))))"
    ) -}}
{% endmacro %}


{% macro zone_changes() %}
    {%- set zone = setting("POINTS_TIME_ZONE") -%}
    {%- set words = [zone, "+0"] -%}
    {#- Not while dbt parses: a list that is another then makes it parse nothing again. -#}
    {%- if zone != "UTC" and execute -%}
        {%- set words = setting("POINTS_ZONE_CHANGES").split(" ") -%}
        {%- set pattern = "[+-][0-9]+( [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z[+-][0-9]+)*" -%}
        {%- if words[0] == zone and not modules.re.fullmatch(pattern, words[1:] | join(" "), modules.re.ASCII) -%}
            {{ exceptions.raise_compiler_error(
                "POINTS_ZONE_CHANGES is not the list of changes of '" ~ zone ~ "' that `python -m ledger.zones` prints;"
                ~ " set it to that, or to nothing where DuckDB builds."
            ) }}
        {%- elif words[0] != zone -%}
            {%- set words = [zone] + adapter.dispatch("read_zone_changes", "outstanding_points")(zone) -%}
        {%- endif -%}
    {%- endif -%}
    {%- set changes = [] -%}
    {%- for word in words[2:] -%}
        {%- do changes.append({
            "begins_at": modules.datetime.datetime.strptime(word[:20], "%Y-%m-%dT%H:%M:%SZ"),
            "offset": word[20:] | int,
        }) -%}
    {%- endfor -%}
    {{- return({"first_offset": words[1] | int, "changes": changes}) -}}
{% endmacro %}


{% macro spark__read_zone_changes(zone) %}
    {{ exceptions.raise_compiler_error(
        "POINTS_TIME_ZONE is '" ~ zone ~ "', and DuckDB's changes of its offset, which decide on Spark too, are not"
        ~ " in POINTS_ZONE_CHANGES; set it to what `python -m ledger.zones` prints."
    ) }}
{% endmacro %}

{#- No zone's offset changes twice within six days: where the offset is not the same a day later, the second of the
    change is found by halving. -#}
{% macro default__read_zone_changes(zone) %}
    {%- set name = dbt.string_literal(zone) -%}
    {%- set rows = run_query(
        "
        with recursive days as (
            select
                instant,
                epoch_us(timezone(" ~ name ~ ", make_timestamptz(instant))) - instant as utc_offset,
                lag(instant) over (order by instant) as day_before,
                lag(utc_offset) over (order by instant) as offset_before
            from range(
                epoch_us(timestamp '1989-12-31'), epoch_us(timestamp '2200-01-02') + 1, 86400000000
            ) as days (instant)
            where " ~ name ~ " in (select name from pg_timezone_names())
        ),

        halved as (
            select day_before as lower, instant as upper, offset_before, utc_offset
            from days
            where utc_offset is distinct from offset_before

            union all

            select
                case when offset_between = offset_before then between_them else lower end,
                case when offset_between = offset_before then upper else between_them end,
                offset_before,
                case when offset_between = offset_before then utc_offset else offset_between end
            from (
                select
                    *,
                    lower + (upper - lower) // 2000000 * 1000000 as between_them,
                    epoch_us(timezone(" ~ name ~ ", make_timestamptz(between_them))) - between_them
                        as offset_between
                from halved
                where upper - lower > 1000000
            )
        )

        select
            case when lower is not null then strftime(make_timestamp(upper), '%Y-%m-%dT%H:%M:%SZ') else '' end
            || printf('%+d', utc_offset // 1000000)
        from halved
        where coalesce(upper - lower, 1000000) = 1000000
        order by upper
        "
    ) -%}
    {%- if not rows.columns[0].values() -%}
        {{ exceptions.raise_compiler_error(
            "POINTS_TIME_ZONE is '" ~ zone ~ "', but no time zone has that name; use one like Europe/Berlin or UTC."
        ) }}
    {%- endif -%}
    {{- return(rows.columns[0].values() | list) -}}
{% endmacro %}
