"""dbt in a process of its own that ends with its parent.

Run as ``python -m orchestration.dbt_child <dbt arguments>``. The parent holds the other end of standard
input; when it is gone, however it went, reading ends and this process is gone too, so that no orphan goes on
writing where somebody else has begun anew (CASES.md, X3).
"""

import os
import sys
import threading


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from dbt.cli.main import cli

    cli(args=sys.argv[1:], prog_name="dbt")


if __name__ == "__main__":
    main()
