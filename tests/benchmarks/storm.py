"""A storm: 10,000 failures of three kinds from 8 processes in a minute, and the messages that are sent.

    python tests/benchmarks/storm.py [--failures 10000] [--seconds 60] [--hooks 300] [--page docs/measured.md]

The processes share one SQLite file, and a bot of theirs posts to a fake Slack in this one. Beside each call that fails
with alerts, the same call fails without: what alerts cost the failing task is the difference of the two. Where
`redis-server` is installed, a fifth of the storm follows with Redis in place of the file. Then tasks on a real Prefect
server fail, with Prefect's own `on_failure` hook and with ours; Slack takes 100 ms to answer there. Ends with an error
if a message too many or too few was sent, if the counts do not add up, or if the median cost reaches 0.5 ms.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from breakers import _free_port, _wait_for
from setting import machine, prefect_server, say, table, write_into
from storming import KINDS, Storm, percentile, storm

from resilient_tasks.testing import FakeSlack, Slow

PROCESSES, WINDOWS = 8, 3  # of each storm: cool-downs that pass while it lasts
MEDIAN = 0.5  # the goal: ms on the path of the failing task
ANSWERS = 0.1  # seconds that Slack takes to answer the tasks on Prefect
WARM_UP = 10  # calls of each task that are not timed
HEAD = ("store", "failures", "first", "digests", "most in a window", "recovered", "reported in all", "sent twice")
COSTS = ("store", "a failing call, ms", "p50", "p99", "max")
HOOKS = ("task", "failures", "messages", "mean ms", "added by alerts, ms", "added to all, s")


@dataclass
class Task:
    """A task that fails, its control, and the seconds that each call took."""

    name: str
    call: Callable[..., Any]
    control: Callable[..., Any]
    seconds: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    messages: int = 0

    @property
    def added(self) -> float:
        """Mean seconds that alerts added to each call."""
        return statistics.mean(self.seconds) - statistics.mean(self.bare)


@contextmanager
def redis_server() -> Iterator[str | None]:
    """Run a Redis server, and yield its URL; None if none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait(10)


def measure(failures: int, seconds: float) -> dict[str, Storm]:
    """Run the storm on each store."""
    storms: dict[str, Storm] = {}
    with tempfile.TemporaryDirectory() as folder, redis_server() as redis:
        for name, url, part in (("SQLite", f"sqlite:///{folder}/incidents.db", 1), ("Redis", redis, 5)):
            if url is None:
                continue
            number, lasts = failures // part, seconds / part
            say(f"{name}: {number:,} failures in {lasts:g} s from {PROCESSES} processes ...")
            with FakeSlack(channels=["#ml-alerts"]) as slack:
                cooldown = lasts / WINDOWS
                storms[name] = storm(slack, url, failures=number, seconds=lasts, processes=PROCESSES, cooldown=cooldown)
    return storms


def tasks(url: str) -> list[Task]:
    """Return a task with Prefect's own hook and one with ours, both posting to the same Slack."""
    from prefect import task
    from slack_sdk.webhook import WebhookClient

    from resilient_tasks import Slack, resilient_task

    def posts(task: Any, run: Any, state: Any) -> None:
        WebhookClient(f"{url}?hook").send(text=f"{task.name} failed: {state.message}")

    def own() -> Callable[[bool], None]:
        def fetch(fails: bool) -> None:  # noqa: FBT001
            if fails:
                raise ConnectionError("the service refused the connection")

        return fetch

    hooked, plain = task(on_failure=[posts])(own()), task(own())
    ours, bare = resilient_task(notify=Slack(webhook=url))(own()), resilient_task(own())
    return [
        Task("@task(on_failure=[posts to Slack])", hooked, plain),
        Task("@resilient_task(notify=Slack(...))", ours, bare),
    ]


def measure_hooks(calls: int) -> list[Task]:
    """Run failing tasks in turns in one flow run, each beside its control."""
    from prefect import flow

    from resilient_tasks import configure
    from resilient_tasks.testing import flush_messages

    @flow
    def failing(found: list[Task]) -> None:
        for number in range(-WARM_UP, calls):
            turns = [
                (call, into) for each in found for call, into in ((each.call, each.seconds), (each.control, each.bare))
            ]
            for call, into in random.sample(turns, len(turns)):
                began = time.perf_counter()
                call(True, return_state=True)
                if number >= 0:
                    into.append(time.perf_counter() - began)
        for each in found:
            each.call(False)

    # Started, and not entered: a block of it would keep incidents in memory, as for tests.
    slack = FakeSlack(schedule=lambda _: Slow(ANSWERS)).start()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:
        ending.callback(slack.stop)
        configure(incidents=f"sqlite:///{folder}/incidents.db")
        found = tasks(slack.webhook_url)
        failing(found)
        if not flush_messages(30):
            raise RuntimeError("not every message has gone out: measure again")
        posted = [request.query for request in slack.requests]
        found[0].messages = sum("hook" in query for query in posted)
        found[1].messages = sum("hook" not in query for query in posted)
    return found


def rows(storms: dict[str, Storm]) -> Iterator[tuple[str, ...]]:
    for name, each in storms.items():
        counts = (each.failures, each.firsts, each.digests, each.most_in_a_window(), each.recoveries, each.total)
        yield name, *(f"{count:,}" for count in (*counts, each.repeated))


def cost_rows(storms: dict[str, Storm]) -> Iterator[tuple[str, ...]]:
    for name, each in storms.items():
        kinds = {
            "without alerts": each.plain,
            "with alerts": each.alerted,
            "added": each.added,
            "added, CPU time": each.cpu,
        }
        for what, micros in kinds.items():
            yield name, what, *(f"{percentile(micros, percent) / 1000:.2f}" for percent in (50, 99, 100))


def hook_rows(found: list[Task]) -> Iterator[tuple[str, ...]]:
    for each in found:
        means = statistics.mean(each.seconds) * 1000, each.added * 1000
        number = len(each.seconds)
        yield (
            each.name,
            f"{number:,}",
            f"{each.messages:,}",
            *(f"{ms:.1f}" for ms in means),
            f"{each.added * number:.1f}",
        )


def goals(storms: dict[str, Storm]) -> Iterator[tuple[str, bool]]:
    """For each goal: its statement, and whether it is met."""
    for name, each in storms.items():
        problems = list(each.problems())
        sums = f"first messages, digests and recoveries report {each.total:,} of {each.failures:,}"
        yield (
            f"{name}: {KINDS} first messages, {KINDS} recoveries, at most {KINDS} digests a window; {sums}"
            + "".join(f"; {problem}" for problem in problems),
            not problems,
        )
    median = percentile(storms["SQLite"].added, 50) / 1000
    yield f"SQLite: {median:.2f} ms added to a failing call, median (goal: under {MEDIAN:g})", median < MEDIAN


def remarks(storms: dict[str, Storm]) -> Iterator[str]:
    """Remarks without a goal."""
    for name, each in storms.items():
        lost = each.events["store.lost"]
        yield (
            f"{name}: the first failing call of a process, which opens the store, took {min(each.first) / 1000:.0f} to"
            f" {max(each.first) / 1000:.0f} ms; it is not in the table"
        )
        yield (
            f"{name}: the slowest process was {each.behind:.1f} s behind at the end; the store was given up for the"
            f" moment {lost} times, and {each.late} failures were stored after the last call"
        )
    if "Redis" not in storms:
        yield "Redis: skipped, there is no redis-server here"


def load() -> str:
    """Describe the load of the machine."""
    return f"load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="10,000 failures in a minute, and the messages that are sent.")
    parser.add_argument("--failures", type=int, default=10_000, help="of the storm (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="for which it lasts (default: %(default)s)")
    parser.add_argument("--hooks", type=int, default=300, help="failures of each Prefect task (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="put the tables into this page too")
    options = parser.parse_args()
    before = load()
    storms = measure(options.failures, options.seconds)
    say(f"Prefect: {options.hooks} failures of each task ...")
    with prefect_server():
        found = measure_hooks(options.hooks)
    judged = list(goals(storms))
    said = [f"{what}: {'met' if met else 'MISSED'}" for what, met in judged] + list(remarks(storms))
    what = f"{options.failures:,} failures in {options.seconds:g} s, {WINDOWS} windows; with Redis, a fifth of it"
    about = f"{machine()}; {before} at the beginning. {what}:"
    path = "A failing call, with alerts and without, by turns:"
    hooks = f"Tasks on a Prefect server, by turns; Slack takes {ANSWERS * 1000:.0f} ms to answer:"
    parts = ((about, HEAD, rows(storms)), (path, COSTS, cost_rows(storms)), (hooks, HOOKS, hook_rows(found)))
    kept = [(text, head, list(lines)) for text, head, lines in parts]
    for text, head, lines in kept:
        print(text, "", table(head, lines, markdown=False), "", sep="\n")
    print(*said, sep="\n")
    if options.page:
        tables = "\n\n".join(f"{text}\n\n{table(head, lines, markdown=True)}" for text, head, lines in kept)
        write_into(options.page, "storm", f"{tables}\n\n" + "\n".join(f"- {line}" for line in said))
    missed = [what for what, met in judged if not met]
    print("", "NOT AS PROMISED:" if missed else "as promised", *missed, sep="\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
