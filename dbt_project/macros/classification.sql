{% macro signed_points(style, points) -%}
    case when {{ style }} = 'give' then {{ points }} else -{{ points }} end
{%- endmacro %}


{% macro bucket_points(bucket, signed_points) -%}
    case when {{ bucket }} = 'earned' then {{ signed_points }} else -{{ signed_points }} end
{%- endmacro %}


{% macro revoking_bucket(bucket) -%}
    case when {{ bucket }} = 'earned' then 'reversal' else {{ bucket }} end
{%- endmacro %}
