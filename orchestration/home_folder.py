"""A plugin of dbt-duckdb: the folder of the database is made before dbt opens it.

``dbt build`` by hand with a POINTS_HOME that is not there ends otherwise in a traceback: DuckDB makes no
folder, and dbt opens the database before anything of the project runs, hooks too. dbt imports this where
nothing of ours is installed, so it imports nothing of ours.
"""

from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """What dbt-duckdb looks for in a module that ``plugins`` of profiles.yml names."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Make the folder; dbt-duckdb calls this just before it opens the database."""
        Path(creds.path).parent.mkdir(parents=True, exist_ok=True)
