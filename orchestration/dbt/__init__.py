"""dbt as builds and closes run it: its process, its parse, its manifest, and what it reports."""
