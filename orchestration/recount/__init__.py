"""The audit's recount: what a build must hold, counted from the cut another way, without dbt."""
