{#- Points with the sign of their style: what a transfer adds to a balance. -#}
{% macro signed_points(style, points) -%}
    case when {{ style }} = 'give' then {{ points }} else -{{ points }} end
{%- endmacro %}


{#- Points with the sign of their bucket: earned counts what is given, the other three what is taken, so
    that earned − reversal − redeemed − expired is the sum of signed points
    (docs/design.md, section 7). -#}
{% macro bucket_points(bucket, signed_points) -%}
    case when {{ bucket }} = 'earned' then {{ signed_points }} else -{{ signed_points }} end
{%- endmacro %}


{#- The bucket in which a revocation undoes what stands in another bucket
    (docs/design.md, section 7). -#}
{% macro revoking_bucket(bucket) -%}
    case when {{ bucket }} = 'earned' then 'reversal' else {{ bucket }} end
{%- endmacro %}
