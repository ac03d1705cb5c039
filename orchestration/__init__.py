"""What turns transfers into files: settings, runs of dbt, their audit, publishing, and Dagster around them."""
