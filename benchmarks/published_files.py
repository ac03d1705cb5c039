"""``python -m benchmarks.published_files FILE``: the part of `points verify` about published files, and FILE
has its seconds.

It compares each file of POINTS_HOME with its manifest by hash, and the manifests with the ledger.
"""

import json
import sys
import time
from pathlib import Path

from ledger.closes import read_history
from ledger.settings import project_settings
from ledger.upkeep.inspection import open_as_it_stands
from orchestration.published.soundness import find_damage


def main() -> None:
    settings = project_settings()
    open_as_it_stands(settings)
    began = time.perf_counter()
    damages = list(find_damage(settings.home, read_history()))
    seconds = time.perf_counter() - began
    if damages:
        raise damages[0]
    Path(sys.argv[1]).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
