"""What Dagster shows: dbt's seeds and models, its tests as checks, and the files that a build writes."""
