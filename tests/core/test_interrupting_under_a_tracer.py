"""Abandoning a thread leaves the interpreter intact: debuggers and coverage go on.

In separate processes: if this fails, the interpreter hangs.
"""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys, threading, time
from resilient_tasks import resilient

over = threading.Event()

@resilient(timeout=0.05, idempotent=True)
def waits():
    time.sleep(4)

@resilient(timeout=0.05, idempotent=True)
def runs():
    while not over.is_set():
        pass

def call(*functions):
    threads = [threading.Thread(target=function.outcome) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def traced():
    return "was called"

def trace(frame, event, argument):
    return None

if "before" in sys.argv:
    call(waits, waits, runs)
if "under" in sys.argv:
    sys.settrace(trace)
    threading.settrace(trace)
    began = time.monotonic()
    call(waits)
    assert time.monotonic() - began < 3, "the call waited for a thread that it should abandon"
sys.settrace(trace)
print(traced())
over.set()
"""


@pytest.mark.parametrize("when", ["before", "under"])
def test_a_traced_function_can_be_called_after_a_thread_was_abandoned(when):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, when], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "was called\n", done.stderr
