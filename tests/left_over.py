"""What tests leave behind, and the next test would find: abandoned attempts that run, and variables."""

import os
import sys
import threading
import time

#: Seconds that an abandoned attempt may take to end after its test.
PATIENCE = 10.0
#: What Dask puts into the environment of the process that starts one of its own, and leaves there.
_OF_DASK = (
    "PYTHONHASHSEED",
    "MALLOC_TRIM_THRESHOLD_",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)

_before = {name: os.environ.get(name) for name in _OF_DASK}
_reported = set()


def restore_the_environment():
    """Put back what Dask has changed."""
    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


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
