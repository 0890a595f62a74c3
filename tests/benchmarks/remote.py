"""Flows far from their server, which is away for 20 s in the midst of them: `python tests/benchmarks/remote.py`.

Ten flows run at once, five through a worker and five called, each of them in the midst when the server is stopped, and
started again on the same database; then ten others while it stands still. Prints how each ended, and what its report
says of the outage. The exit code is 1 unless all of them ended right.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from setting import machine, say, table

sys.path.insert(0, str(Path(__file__).parents[1] / "operations"))
from far_away import FarAway, frozen, stopped, three_places


def main() -> int:
    """Measure, print, and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=20, help="for which the server is away")
    arguments.add_argument("--runs", type=int, default=10, help="at once")
    given = arguments.parse_args()
    half = given.runs // 2
    right = 0
    with tempfile.TemporaryDirectory() as folder, three_places() as (places, what):
        print(f"{machine()}; server, worker and flows are in three {what}")
        with FarAway(folder, places, rounds=3, seconds=1).running(limit=half) as there:
            for name, how in (("stopped", stopped), ("frozen", frozen)):
                say(f"{given.runs} runs, and the server is {name} for {given.seconds:g} s ...")
                ended = there.outage(name, how, seconds=given.seconds, through_worker=half, called=given.runs - half)
                good = sum(not each.wrong for each in ended)
                right += good
                print(f"\nthe server {name} for {given.seconds:g} s: {good} of {len(ended)} runs ended right\n")
                rows = [(each.through, each.state, "; ".join(each.wrong) or "nothing", each.noticed) for each in ended]
                print(table(("run through", "ended", "wrong", "its report says"), rows, markdown=False))
    return int(right < 2 * given.runs)


if __name__ == "__main__":
    sys.exit(main())
