"""The timeout table: a limit of 1 s on 6 s of work, Prefect's own `timeout_seconds=1` beside ours, in one run.

    python tests/benchmarks/timeouts.py [--page docs/measured.md] [--figure docs/images/timeouts.png]

For each sort of work in each place: the seconds until the call returned, what the library reported about the work, and
whether the work was still alive after its limit, by the signs that it leaves in a file. Ends with an error if
`enforce="process"` takes longer than 1.2 s or leaves anything running, if `enforce="auto"` does where Python could have
ended it, or if anything reported about the work is wrong. Takes about three minutes.
"""

import argparse
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from cells import Cell, Job, Measured
from overlong import ASYNC_BUSY, ASYNC_WAITS, BUSY, LASTS, WAITS
from setting import machine, prefect_server, say, table, write_into

from resilient_tasks.core.execution.interrupt import BLOCKED, HELD, SWALLOWED

WITHIN = 1.2  # seconds
AT_ONCE = 2  # jobs: one of each pair is mostly waiting
SYNC_PLACES = ("main thread", "worker thread", "process pool")

#: Where Python can end nothing from inside its own process, by place and work, and why: the error has to say so.
CANNOT = {
    **{(place, "one long C call"): HELD for place in SYNC_PLACES},
    **{(place, "a body that swallows everything"): SWALLOWED for place in ("main thread", "process pool", "async")},
    **{("async", work): BLOCKED for work in ASYNC_BUSY},
}


class _SaysNothing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        time.sleep(LASTS)
        self.request.sendall(b".")


class _SilentServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def silent_server() -> Iterator[int]:
    """Listen on a loopback port, and answer each connection only after six seconds."""
    with _SilentServer(("127.0.0.1", 0), _SaysNothing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def steps_of_a_long_call() -> int:
    """Return how large a sum takes at least six seconds here, by the fastest of some trials."""
    trial, fastest = 10_000_000, float("inf")
    for _ in range(5):
        began = time.thread_time()  # of the processor: a busy machine makes the call longer, never shorter
        sum(range(trial))
        fastest = min(fastest, time.thread_time() - began)
    return int(trial * LASTS / fastest)


def measure() -> list[Measured]:
    """Run all jobs, each in its own process, `AT_ONCE` at a time."""
    from prefect.settings import PREFECT_API_URL

    jobs = [(place, way) for place in SYNC_PLACES for way in ("Prefect", "auto", "process")]
    jobs += [("async", way) for way in ("Prefect", "auto")]
    steps = steps_of_a_long_call()
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with tempfile.TemporaryDirectory() as folder, silent_server() as port:

        def done(job: tuple[str, str]) -> Measured:
            place, way = job
            asked = Job(place, way, folder, port, steps)
            answer = subprocess.run(
                [sys.executable, str(Path(__file__).with_name("places.py")), json.dumps(asdict(asked))],
                env=environment,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            if answer.returncode:
                raise RuntimeError(f"{place}, {way}, could not be measured:\n{answer.stderr[-3000:]}")
            say(f"  measured: {place}, {way}")
            found = json.loads(answer.stdout)
            return Measured(found["first_call"], [Cell(**cell) for cell in found["cells"]])

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(done, jobs))


def shown(cell: Cell | None) -> str:
    """Describe the result of a call in a few words."""
    if cell is None:
        return ""
    if cell.claimed is None:
        return f"{cell.seconds:.2f} {cell.ended}{', ran on' if cell.ran_on else ''}"
    said = "stopped" if cell.claimed else "not stopped"
    return f"{cell.seconds:.2f} {said}, {'true' if cell.claimed != cell.ran_on else 'UNTRUE'}"


def rows(cells: Iterable[Cell]) -> Iterator[tuple[str, ...]]:
    found = {(cell.place, cell.work, cell.way): cell for cell in cells}
    places = dict.fromkeys(SYNC_PLACES, (*WAITS, *BUSY)) | {"async": (*ASYNC_WAITS, *ASYNC_BUSY)}
    for place, works in places.items():
        for work in works:
            ways = (shown(found.get((place, work, way))) for way in ("Prefect", "auto", "process"))
            yield place, work, *ways


def broken(cells: Iterable[Cell]) -> Iterator[str]:
    """Yield every cell that breaks a promise."""
    for cell in cells:
        where = f"{cell.way}, {cell.place}, {cell.work}"
        late = cell.seconds > WITHIN
        if cell.way == "process" and (late or cell.ran_on):
            yield f"{where}: {cell.seconds:.2f} s{', and the work ran on' if cell.ran_on else ''}"
        reason = CANNOT.get((cell.place, cell.work))
        if cell.way == "auto" and late and (reason is None or reason not in cell.message):
            yield f"{where}: {cell.seconds:.2f} s, and {f'not a word of: {reason}' if reason else 'for no good reason'}"
        if cell.way != "Prefect" and cell.claimed is cell.ran_on:
            yield f"{where}: it reported stopped={cell.claimed}, which is wrong ({cell.message})"
        if cell.way != "Prefect" and cell.claimed is None:
            yield f"{where}: it ended as {cell.ended} instead of TimedOut ({cell.message})"


def remarks(measured: list[Measured]) -> Iterator[str]:
    cells = [cell for each in measured for cell in each.cells]
    for way in ("Prefect", "auto", "process"):
        own = [cell for cell in cells if cell.way == way]
        in_time, ended = sum(cell.seconds <= WITHIN for cell in own), sum(not cell.ran_on for cell in own)
        yield f"- {way}: of {len(own)} calls, {in_time} returned within {WITHIN} s, and the work of {ended} was ended."
    for cell in cells:
        if cell.way == "auto" and cell.seconds > WITHIN:
            why = cell.message.partition("not stopped: ")[2].partition(";")[0]
            yield f"- {cell.place}, {cell.work}: {cell.seconds:.1f} s: {why or 'it gives no reason'}."
    cold = ", ".join(f"{each.first_call:.1f} s" for each in measured if each.cells[0].way == "process")
    yield f'- Not counted: the first call with enforce="process" in a process, which loads what the work needs: {cold}.'


def report(measured: list[Measured], *, markdown: bool) -> str:
    head = ("place", "six seconds of", "Prefect's `timeout_seconds=1`", "`timeout=1`", '`enforce="process"`')
    cells = [cell for each in measured for cell in each.cells]
    laid = table(head, rows(cells), markdown=markdown)
    return "\n".join((f"{machine()}. Seconds until the call returned:", "", laid, "", *remarks(measured)))


def main() -> None:
    parser = argparse.ArgumentParser(description="A limit of 1 s on 6 s of work: Prefect's own beside ours.")
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    parser.add_argument("--figure", type=Path, help="draw the table into this PNG or SVG file")
    options = parser.parse_args()
    with prefect_server():
        measured = measure()
    cells = [cell for each in measured for cell in each.cells]
    print(report(measured, markdown=False))
    if options.page:
        write_into(options.page, "timeouts", report(measured, markdown=True))
    if options.figure:
        from heatmap import draw

        draw(cells, options.figure)
    faults = list(broken(cells))
    print("", "NOT AS PROMISED:" if faults else "as promised", *faults, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
