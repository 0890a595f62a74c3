"""Report a million events: seconds and memory. `python tests/benchmarks/report_scale.py [EVENTS]`.

Writes an event file of a run with calls that recover, are degraded, fail and quarantine rows, reads it back as
`resilient-tasks report` does, in a process of its own, and prints the machine, the versions, the seconds and the peak
of the memory.
"""

import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from resilient_tasks import RunReport

RUN = {"flow_run_id": "4f6f5cf0-0000-4000-8000-000000000000", "flow_run": "a-million-events"}
ERROR = {"error.type": "HTTPStatusError", "http.response.status_code": 503, "kind": "transient"}
ERROR["exception.message"] = "Server error '503 Service Unavailable' for url 'http://127.0.0.1:9/flights?page=3'"
TALLY = {"errors": {"HTTPStatusError": 2}, "failures": {"HTTP 503": 2}}
#: The bars: seconds and MB for a million events.
SECONDS, MEGABYTES = 10.0, 300.0


def lines(events):
    """Yield the lines of a run with about this number of events."""
    random.seed(1)
    now = 1.7e9
    yield {"event.name": "file.begun", "time": now, "host": "worker-7", "pid": 7, "process_started": 1.0}
    yield {"event.name": "run.started", "time": now, **RUN, "operation": "flow", "attempt": 1}
    number = call = 0
    while number < events:
        call, now = call + 1, now + 0.01
        for line in _call(call, now, random.choice(("recovers", "recovers", "degrades", "fails", "quarantines"))):
            number += 1
            yield line
    yield {"event.name": "run.ended", "time": now, **RUN, "how": "completed", "again": False}


def _call(number, now, end):
    name = f"fetch_{number % 40}"
    ids = {**RUN, "task_run_id": f"00000000-0000-4000-8000-{number:012x}", "task_run": f"{name}-{number}"}
    about = {**ids, "operation": name, "call": f"0123abcd-1f2f-{number:x}"}
    attempts = random.randrange(2, 5)
    for attempt in range(1, attempts):
        failed = {"attempt": attempt, "time": now, "duration_s": 0.2, "attempts": 4, "retry.delay_s": 1.5}
        yield {"event.name": "retry.scheduled", **about, **ERROR, **failed}
        yield {"event.name": "retry.started", **about, "attempt": attempt + 1, "time": now + 1.5, "attempts": 4}
    last = {"attempt": attempts, "time": now + 2, "duration_s": 0.3}
    if end == "quarantines":
        rows = {"action": "quarantined", "rows": 1000, "invalid": 3, "reasons": {"delay: greater_than(0)": 3}}
        file = {"path": f"/data/quarantine/{name}/{number}-result.parquet", "batch": str(number), "schema": "m:S"}
        yield {"event.name": "rows.quarantined", **about, **last, **rows, **file}
    if end in {"recovers", "quarantines"}:
        yield {"event.name": "retry.recovered", **about, **last, **TALLY, "attempts": 4}
        return
    yield {"event.name": "retry.exhausted", **about, **last, **ERROR, **TALLY, "reason": "no attempts left"}
    if end == "degrades":
        old = {"fallback": "last good result", "fallback.age_s": 3600.0, "fallback.since": now - 3600}
        yield {"event.name": "fallback.used", **about, **ERROR, **old, "attempt": 1, "time": now + 2}
    else:
        yield {"event.name": "call.failed", **about, **ERROR, "attempt": 1, "time": now + 2, "inside": True}


def write(path, events):
    with path.open("w") as file:
        for number, line in enumerate(lines(events)):
            file.write(json.dumps({**line, "line": number}, separators=(",", ":")) + "\n")


def read(path):
    """Report a file in each form, and print the events, the processor's seconds and the peak of the memory in MB."""
    began = time.process_time()
    report = RunReport.read(path)
    for form in (report.text, report.markdown, report.json, report.html):
        form()
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(json.dumps([report.as_dict()["counts"]["events"], seconds, peak]))


def main():
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events.jsonl")
        write(path, events)
        done = subprocess.run(
            [sys.executable, __file__, "--read", path], capture_output=True, text=True, check=True, timeout=600
        )
        size = path.stat().st_size / 1e6
    number, seconds, peak = json.loads(done.stdout)
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, orjson {version('orjson')}")
    print(f"{number:,} events, {size:,.0f} MB: {seconds:.1f} s of processor time, {peak:.0f} MB at most")
    good = seconds <= SECONDS * max(1, number / 1e6) and peak <= MEGABYTES
    print(f"at most {SECONDS:g} s and {MEGABYTES:g} MB for a million: {'held' if good else 'NOT HELD'}")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]))
    else:
        sys.exit(main())
