{#- The models read no clock, but a clock wrote `recorded_at`, and it may have been decades off. So the years of
    recording are split into parts where more than ten empty years lie between them, and the part with most
    transfers counts: with a million recorded from 2019 to 2026 and three in 2199, now is the newest of 2026. -#}
{% macro recorded_until(transfers) %}
    select max(recorded_at) as recorded_at
    from (
        select
            max(recorded_at) as recorded_at,
            row_number() over (order by sum(transfers) desc, max(recorded_at) desc) as size_position
        from (
            select
                *,
                sum(is_apart) over (order by recorded_year) as part
            from (
                select
                    *,
                    case
                        when recorded_year - lag(recorded_year) over (order by recorded_year) > 11 then 1
                        else 0
                    end as is_apart
                from (
                    select
                        extract(year from recorded_at) as recorded_year,
                        max(recorded_at) as recorded_at,
                        count(*) as transfers
                    from {{ transfers }}
                    where recorded_at is not null
                    group by extract(year from recorded_at)
                ) as years
            ) as years_with_gaps
        ) as years_in_parts
        group by part
    ) as parts
    where size_position = 1
{% endmacro %}
