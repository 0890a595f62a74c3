"""What tests leave running: abandoned attempts are listed for the whole process, and the next test would find them."""

import sys
import threading
import time

#: Seconds that an abandoned attempt may take to end after its test.
PATIENCE = 10.0

_reported = set()


def wait_for_the_end():
    """Wait until no abandoned attempt runs.

    Raises:
        AssertionError: one still runs, after 10 s. It is reported once.
    """
    module = sys.modules.get("resilient_tasks.core.execution.abandoned")  # measured by coverage, once it runs
    if module is None:
        return
    until = time.monotonic() + PATIENCE
    while left := [each for each in module.abandoned() if each not in _reported]:
        if time.monotonic() > until:
            _reported.update(left)
            msg = f"it left abandoned attempts that still run: {left}"
            raise AssertionError(msg)
        threading.Event().wait(0.005)  # not `time.sleep`, which may be virtual
