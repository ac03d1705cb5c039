"""dbt in a process of its own that ends with its parent.

It imports dbt, takes the parse that is kept of this project, and runs the one command that then comes over
standard input, as a line of JSON: arguments, further environment, folder, and whether that parse may be
taken. The parent holds the other end; when it is gone, however it went, reading ends and this process is gone
too, so that no orphan goes on writing into a folder that another run has begun again (docs/cases.md, X3).
"""

import gc
import json
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

from orchestration.dbt.parse import kept_parse


def main() -> None:
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    # dbt makes as many objects as there are models, for any amount of data, and ends: looking for those to
    # free takes 0.65 s of 6.7, and not looking 34 MB.
    gc.disable()
    manifest = import_dbt()
    arguments, environment, folder, takes_kept_parse = json.loads(requests.get())
    os.environ.update(environment)
    os.chdir(folder)
    sys.exit(run_dbt(arguments, manifest if takes_kept_parse else None))


def end_with_parent() -> None:
    """End this process, at once, when nobody has the other end of standard input any more."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def import_dbt() -> Any:
    """Import what takes dbt longest; return the manifest of the kept parse, None where none is kept."""
    import dbt.cli.main  # noqa: F401
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    _put_no_unheard_events_together()
    parse = kept_parse()
    if parse is None:
        return None
    manifest = Manifest.from_msgpack(parse, decoder=extended_mashumuro_decoder)
    manifest.build_flat_graph()
    return manifest


def run_dbt(arguments: list[str], manifest: Any = None) -> int:
    """Run dbt, with a manifest in place of a parse where there is one; return the status to end with."""
    from dbt.cli.main import dbtRunner

    ended = dbtRunner(manifest).invoke(arguments)
    if ended.exception:
        # What dbt says of its own errors it has logged; of others, of its arguments for one, it has not.
        print(ended.exception, file=sys.stderr)
        return 2
    return 0 if ended.success else 1


def _read_requests(requests: SimpleQueue[str]) -> None:
    requests.put(sys.stdin.readline())
    end_with_parent()


def _put_no_unheard_events_together() -> None:
    """Leave events of dbt that are for debugging as they are made: no log of a run has that level.

    dbt makes a message of each, with all variables searched for secrets, before it asks who wants it. That
    takes a fifth of the time in which a hundred models and tests run.
    """
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager import EventManager

    fire_event = EventManager.fire_event

    def fire_event_if_heard(manager: Any, event: Any, level: Any = None, *others: Any, **named: Any) -> None:
        if (level or event.level_tag()) != EventLevel.DEBUG:
            fire_event(manager, event, level, *others, **named)

    EventManager.fire_event = fire_event_if_heard


if __name__ == "__main__":
    main()
