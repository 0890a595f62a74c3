"""The example on a machine that is busy and stands still: `python tests/benchmarks/rough.py [--seed N] [--busy 6]`.

Runs `examples/flight_times/run.py`, and stops its process with SIGSTOP, again and again for some seconds, as a
suspended laptop or a frozen container would: each time just after a request for flights. Prints what the example
prints, with a line for each stop, and ends with its exit code: the accounts have to agree, however slow the machine is.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

RUN = Path(__file__).parents[2] / "examples" / "flight_times" / "run.py"


def main() -> int:
    """Run the example under the conditions given, and return its exit code."""
    given = _arguments()
    with _busy_loops(given.busy):
        command = [sys.executable, "-u", str(RUN), "--seed", str(given.seed), "--out", given.out]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # our own script
        try:
            return _followed(process, given)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the faults, and of the times between two stops")
    parser.add_argument("--stops", type=int, default=8, help="how often the process is stopped while it fetches")
    parser.add_argument("--seconds", type=float, default=4, help="for how long each time")
    parser.add_argument("--between", type=float, nargs=2, default=(1, 6), help="seconds between two stops, at random")
    parser.add_argument("--children", action="store_true", help="stop its servers, too, at the same time")
    parser.add_argument("--busy", type=int, default=0, help="processes that count in a loop meanwhile")
    parser.add_argument("--out", default="out/rough", help="folder for everything that the run writes")
    return parser.parse_args()


def _followed(process: subprocess.Popen[str], given: argparse.Namespace) -> int:
    """Print what the process prints, and stop it again and again meanwhile."""
    threading.Thread(target=_stop_again_and_again, args=(process, given), daemon=True).start()
    for line in process.stdout or ():
        print(line, end="", flush=True)
    return process.wait()


def _stop_again_and_again(process: subprocess.Popen[str], given: argparse.Namespace) -> None:
    chance = random.Random(given.seed)
    log = Path(given.out, "api", "requests.jsonl")
    for number in range(1, given.stops + 1):
        time.sleep(chance.uniform(*given.between))
        _wait_for_a_request(log, process)
        stopped = [process.pid, *(_children(process.pid) if given.children else ())]
        if process.poll() is not None:
            return
        _send(stopped, signal.SIGSTOP)
        time.sleep(given.seconds)
        _send(stopped, signal.SIGCONT)
        print(f"-- stop {number} of {given.stops}: {len(stopped)} processes for {given.seconds:g} s", flush=True)


def _wait_for_a_request(log: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the next request for flights, so that a client is stopped while it waits for a response."""

    def asked() -> int:
        with contextlib.suppress(OSError):
            return log.read_bytes().count(b'"/flights"')
        return 0

    before = asked()
    while (now := asked()) <= before and process.poll() is None:
        before = now  # a new run begins a new log
        time.sleep(0.005)


def _children(pid: int) -> list[int]:
    """Return the processes below `pid`, by their parents' ids in /proc."""
    parents = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    below = {pid}
    for _ in parents:
        below |= {child for child, parent in parents.items() if parent in below}
    return sorted(below - {pid})


def _send(pids: list[int], sign: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)


@contextlib.contextmanager
def _busy_loops(count: int) -> Iterator[None]:
    loops = [multiprocessing.Process(target=_count, daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.terminate()
            loop.join()


def _count() -> None:
    number, until = 0, time.monotonic() + 1200  # it ends, whatever happens to the process that started it
    while time.monotonic() < until:
        number += 1


if __name__ == "__main__":
    sys.exit(main())
