"""Where a close can be cut off on purpose, to prove that it may be (docs/cases.md, X2 to X5 and X19).

With ``POINTS_FAIL_AT=<step>`` the process kills itself with SIGKILL when it gets there, and with
``POINTS_FAIL_AT=<step>:stop`` it stops once with SIGSTOP, so that a test can fill the disk or look
around and let it go on. Nothing else reads that variable.
"""

import os
import signal

FAIL_POINTS = (
    "opened",
    "frozen",
    "run begun",
    "related written",
    "model built",
    "test passed",
    "models built",
    "verdicts audited",
    "recounted",
    "month written",
    "files written",
    "restatements written",
    "evidence written",
    "manifests written",
    "files synced",
    "read back",
    "announced",
    "appended",
    "committed",
    "month moved",
    "months moved",
    "link prepared",
    "current swapped",
    "database begun",
    "database written",
    "database swapped",
    "anchored",
    "finished",
)


def fail_point(step: str) -> None:
    """Stop here where POINTS_FAIL_AT says so; ``step`` is one of `FAIL_POINTS`."""
    wanted, _, how = os.environ.get("POINTS_FAIL_AT", "").partition(":")
    if wanted == step:
        # Stop once only: one SIGCONT is enough, also where the step comes for every model or month.
        del os.environ["POINTS_FAIL_AT"]
        os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)
