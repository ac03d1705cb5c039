"""dbt in a process of its own that ends with its parent.

Run as ``python -m orchestration.dbt.child <dbt arguments>``. The parent holds the other end of standard
input; when it is gone, however it went, reading ends and this process is gone too, so that no orphan goes on
writing into a folder that another run has begun again (docs/cases.md, X3).
"""

import gc
import os
import sys
import threading


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # dbt makes as many objects as there are models, for any amount of data, and ends: looking for those to
    # free takes 0.65 s of 6.7, and not looking 34 MB.
    gc.disable()
    from dbt.cli.main import cli

    cli(args=sys.argv[1:], prog_name="dbt")


if __name__ == "__main__":
    main()
