"""What turns transfers into files: settings, runs of dbt, their audit, publishing; Dagster around them."""
