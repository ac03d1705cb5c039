{% macro transfer_rules() %}
    {%- set rules = [] -%}
    {%- for rule in var("transfer_rules") -%}
        {%- set value = ("raw_" if rule["kind"] in ["points", "instant", "whole_number"] else "") ~ rule["column"] -%}
        {%- set broken = {
            "field_count": "has_wrong_field_count",
            "pattern": "not " ~ full_match(
                "coalesce(" ~ value ~ ", '')", var("transfer_patterns").get(rule.get("pattern"))
            ),
            "currency": "not is_known_currency",
            "values": "coalesce(" ~ value ~ ", '') not in ('" ~ rule.get("values", []) | join("', '") ~ "')",
            "points": "coalesce(points, 0) <= 0",
            "reason": "not is_known_reason",
            "instant": rule["column"] ~ " is null",
            "whole_number": rule["column"] ~ " is null",
            "revocation_only": "coalesce(" ~ value ~ ", '') <> '' and reason <> 'revocation'",
        }[rule["kind"]] -%}
        {%- if rule.get("optional") -%}
            {%- set broken = "coalesce(" ~ value ~ ", '') <> '' and " ~ broken -%}
        {%- endif -%}
        {%- do rules.append({
            "number": loop.index, "code": rule["code"], "column": rule["column"],
            "condition": broken, "value": value, "expected": rule["expected"],
        }) -%}
    {%- endfor -%}
    {{- return(rules) -}}
{% endmacro %}


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


{% macro parsed_points(text) -%}
    case
        when {{ full_match(text, var("transfer_patterns")["points"]) }}
            then cast({{ text }} as decimal(18, 4))
    end
{%- endmacro %}


{% macro parsed_instant(text, in_utc) -%}
    case
        when not {{ full_match(text, var("transfer_patterns")["instant"]) }} then null
        when {{ full_match(text, ".*" ~ var("transfer_patterns")["instant_offset"]) }} then {{ in_utc }}
        else {{ local_to_utc(in_utc) }}
    end
{%- endmacro %}
