"""A process that calls under a bulkhead in SQLite for some seconds, concurrently with others.

    python tests/benchmarks/bench/slots.py URL SECONDS

Started by `shared.py`. Says that it is ready; for each line with a number of slots it makes calls, and prints as JSON
how many, the longest in seconds, and how often it lost its store. For 0 slots it calls a bare function: its longest
call is how long this machine lets a process wait for a core.
"""

import json
import sys
import time

from resilient_tasks import Bulkhead, configure, resilient
from resilient_tasks.core.events import Event, StoreLost, bus

QUEUE = 100  # calls may wait: none is refused


def main() -> None:
    url, seconds = sys.argv[1], float(sys.argv[2])
    configure(store=url)
    lost: list[Event] = []
    bus.subscribe(lambda event: lost.append(event) if isinstance(event, StoreLost) else None)
    print("ready", flush=True)
    for line in sys.stdin:
        calls, longest = make_calls(int(line), seconds)
        print(json.dumps({"calls": calls, "longest": longest, "lost": len(lost)}), flush=True)


def make_calls(slots: int, seconds: float) -> tuple[int, float]:
    """Return how many calls were made, and the seconds of the longest."""

    def bare() -> int:
        return 1

    call = resilient(bulkhead=Bulkhead(f"bench of {slots}", slots, queue=QUEUE))(bare) if slots else bare
    calls, longest = 0, 0.0
    began = time.perf_counter()
    until = began + seconds
    while began < until:
        call()
        ended = time.perf_counter()
        longest, began, calls = max(longest, ended - began), ended, calls + 1
    return calls, longest


if __name__ == "__main__":
    main()
