{#- The rules that a row of raw transfers must keep by itself (DESIGN.md, section 5; CASES.md, R1 to R9), in
    the order in which they are tried: the first one broken is the row's rejection. `condition` says when
    the rule is broken and may name the columns of stg_points__transfer_rows before they are judged;
    `value` is the column as it was sent. -#}
{% macro transfer_rules() %}
    {%- set identifier = var("transfer_patterns")["identifier"] -%}
    {%- set rules = [
        {
            "code": "FIELDS", "column": "",
            "condition": "has_wrong_field_count",
            "expected": "as many fields as the header has columns",
        },
        {
            "code": "TRANSFER_ID", "column": "transfer_id",
            "condition": "not " ~ full_match("coalesce(transfer_id, '')", identifier),
            "expected": "1 to 128 letters, digits or ._:@/#+=~&|-, a letter or digit first",
        },
        {
            "code": "RELATION_REFERENCE", "column": "relation_reference",
            "condition": "not " ~ full_match("coalesce(relation_reference, '')", identifier),
            "expected": "1 to 128 letters, digits or ._:@/#+=~&|-, a letter or digit first",
        },
        {
            "code": "CURRENCY", "column": "currency",
            "condition": "not is_known_currency",
            "expected": "a currency of points_currencies.csv",
        },
        {
            "code": "STYLE", "column": "style",
            "condition": "coalesce(style, '') not in ('give', 'deduct')",
            "expected": "give or deduct",
        },
        {
            "code": "POINTS", "column": "points",
            "condition": "coalesce(points, 0) <= 0",
            "expected": "more than zero, at most 14 digits before the point and 4 after it, plain digits",
        },
        {
            "code": "REASON", "column": "reason",
            "condition": "not is_known_reason",
            "expected": "a reason that transfer_reasons.csv allows for the style",
        },
        {
            "code": "STATUS", "column": "status",
            "condition": "coalesce(status, 'approved') not in ('approved', 'pending', 'on_hold', 'cancelled')",
            "expected": "approved, pending, on_hold or cancelled",
        },
        {
            "code": "OCCURRED_AT", "column": "occurred_at",
            "condition": "occurred_at is null",
            "expected": "an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199",
        },
        {
            "code": "STATUS_CHANGED_AT", "column": "status_changed_at",
            "condition": "status_changed_at is null and coalesce(raw_status_changed_at, '') <> ''",
            "expected": "an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199, or nothing",
        },
        {
            "code": "RECORDED_AT", "column": "recorded_at",
            "condition": "recorded_at is null and coalesce(raw_recorded_at, '') <> ''",
            "expected": "an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199, or nothing",
        },
        {
            "code": "ENTRY_ID", "column": "entry_id",
            "condition": "entry_id is null and coalesce(raw_entry_id, '') <> ''",
            "expected": "a whole number, or nothing",
        },
        {
            "code": "REVERSES_TRANSFER_ID", "column": "reverses_transfer_id",
            "condition": "coalesce(reverses_transfer_id, '') <> '' and not "
                ~ full_match("reverses_transfer_id", identifier),
            "expected": "the transfer_id of another transfer, or nothing",
        },
        {
            "code": "CONTROL_CHAR", "column": "external_reference",
            "condition": has_control_character("coalesce(external_reference, '')"),
            "expected": "no control characters but tabs and line breaks",
        },
        {
            "code": "CONTROL_CHAR", "column": "comment",
            "condition": has_control_character("coalesce(comment, '')"),
            "expected": "no control characters but tabs and line breaks",
        },
        {
            "code": "REVERSES", "column": "reverses_transfer_id",
            "condition": "coalesce(reverses_transfer_id, '') <> '' and reason <> 'revocation'",
            "expected": "nothing, since only a row of the reason revocation undoes another transfer",
        },
    ] -%}
    {%- set parsed = ["points", "occurred_at", "status_changed_at", "recorded_at", "entry_id"] -%}
    {%- for rule in rules -%}
        {%- do rule.update({
            "number": loop.index,
            "value": "raw_" ~ rule["column"] if rule["column"] in parsed else rule["column"],
        }) -%}
    {%- endfor -%}
    {{- return(rules) -}}
{% endmacro %}


{#- The rules that rows of one transfer_id must keep together. -#}
{% macro repetition_rules() %}
    {{- return([
        {
            "code": "ID_CONFLICT", "column": "transfer_id",
            "expected": "the same content wherever a transfer_id stands; none of its rows is counted",
        },
        {
            "code": "STATUS_TRANSITION", "column": "status",
            "expected": "no other status after approved or cancelled, which are final",
        },
    ]) -}}
{% endmacro %}


{#- A text as exact points; null where it is not one. -#}
{% macro parsed_points(text) -%}
    case
        when {{ full_match(text, var("transfer_patterns")["points"]) }}
            then cast({{ text }} as decimal(18, 4))
    end
{%- endmacro %}


{#- A column's text as an instant in UTC; null where it is not one. `in_utc` is the column that has it by its
    offset, or as if it were in UTC; without an offset it is a wall clock of the programme's zone. -#}
{% macro parsed_instant(text, in_utc) -%}
    case
        when not {{ full_match(text, var("transfer_patterns")["instant"]) }} then null
        when {{ full_match(text, ".*" ~ var("transfer_patterns")["instant_offset"]) }} then {{ in_utc }}
        else {{ local_to_utc(in_utc) }}
    end
{%- endmacro %}
