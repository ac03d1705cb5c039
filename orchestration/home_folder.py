"""A plugin of dbt-duckdb: what is to be seen to before dbt opens its database.

The folder of the database is made: ``dbt build`` by hand with a POINTS_HOME that is not there ends otherwise
in a traceback, for DuckDB makes no folder, and dbt opens the database before anything of the project runs,
hooks too. And the database gets the memory, the threads and the place to spill that `ledger.data_files` gives
to others. Said in the profile, another value would make dbt parse the whole project anew.

dbt imports this where nothing of ours is installed, so it imports what needs the standard library alone.
"""

import atexit
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ledger.process import Process
from ledger.work_folders import spill_folder


class Plugin(BasePlugin):
    """What dbt-duckdb looks for in a module that ``plugins`` of profiles.yml names."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Make the folder and give the database its limits; dbt-duckdb calls this just before it opens it."""
        try:
            process = Process.from_environment(os.environ)
        except ValueError as error:
            raise DbtRuntimeError(str(error)) from None
        folder = Path(creds.path).parent
        folder.mkdir(parents=True, exist_ok=True)
        # The database is open until dbt ends.
        spilled = ExitStack()
        atexit.register(spilled.close)
        config["temp_directory"] = spilled.enter_context(spill_folder(folder))
        config["memory_limit"] = f"{process.memory_limit.of_duckdb}B"
        if process.threads:
            config["threads"] = process.threads
