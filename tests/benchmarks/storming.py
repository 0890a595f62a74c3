"""A storm of failures from several processes, and an account of the messages that a fake Slack received."""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resilient_tasks.alerts.outbox import Outbox
from resilient_tasks.core.store import opened_by
from resilient_tasks.state.states import States
from resilient_tasks.testing import FakeSlack, SlackMessage

WORKER = Path(__file__).with_name("storm_worker.py")
KINDS = 3
PATIENCE = 60  # seconds for the last messages to go out
SUCCESSES, BETWEEN = 8, 0.25  # of each process, afterwards: an incident is over with the first that is known of


@dataclass
class Report:
    """The messages about one incident.

    Attributes:
        error: the class of the error, as the first message names it.
        firsts: first messages.
        digests: of each digest, how long the incident had lasted (seconds), and its number of failures.
        totals: the number of failures in each recovery.
    """

    error: str = ""
    firsts: int = 0
    digests: list[tuple[int, int]] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)


@dataclass
class Storm:
    """A storm that is over.

    Attributes:
        failures: their number.
        kinds: the number of failures of each kind.
        cooldown: seconds of a window.
        reports: the messages, by incident.
        repeated: messages that arrived more than once, under one key.
        plain: µs of each failing call without alerts, but for the first of each process.
        alerted: µs of each failing call with alerts, in the same order.
        cpu: µs of processor time that alerts added to each of these, in the thread of the call.
        first: µs of the first failing call with alerts of each process, which opens the store.
        late: failures that were not stored when their process had made its last call.
        behind: seconds by which the slowest process was late with its last call.
        events: the numbers of the processes' events, by name.
        left: messages that had not gone out at the end, and incidents that were not over.
    """

    failures: int
    kinds: Counter[str]
    cooldown: float
    reports: dict[str, Report] = field(default_factory=dict)
    repeated: int = 0
    plain: list[float] = field(default_factory=list)
    alerted: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    late: int = 0
    behind: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    left: int = 0

    @property
    def added(self) -> list[float]:
        """The µs that alerts added to each call."""
        return [alerted - plain for alerted, plain in zip(self.alerted, self.plain, strict=True)]

    @property
    def firsts(self) -> int:
        return sum(each.firsts for each in self.reports.values())

    @property
    def digests(self) -> int:
        return sum(len(each.digests) for each in self.reports.values())

    @property
    def recoveries(self) -> int:
        return sum(len(each.totals) for each in self.reports.values())

    @property
    def total(self) -> int:
        """All failures, by the recovery messages."""
        return sum(total for each in self.reports.values() for total in each.totals)

    def most_in_a_window(self) -> int:
        """Return the largest number of digests in one window. A channel's pace may delay their arrival."""
        windows = Counter(
            int((lasted + 0.5) // self.cooldown) for each in self.reports.values() for lasted, _ in each.digests
        )
        return max(windows.values(), default=0)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the messages."""
        if (self.firsts, self.recoveries) != (KINDS, KINDS) or len(self.reports) != KINDS:
            yield f"{self.firsts} first messages and {self.recoveries} recoveries of {len(self.reports)} incidents"
        if self.most_in_a_window() > KINDS:
            yield f"{self.most_in_a_window()} digests in one window"
        if {each.error: sum(each.totals) for each in self.reports.values()} != self.kinds:
            yield f"{self.kinds} failed, and the messages report {self.reports}"
        for each in self.reports.values():
            reported = each.firsts + sum(count for _, count in each.digests)
            if reported > sum(each.totals):
                yield f"{each.error}: {reported} by first message and digests, {each.totals} in all"
        if self.repeated or self.left:
            yield f"{self.repeated} messages arrived twice, and {self.left} did not go out"


def storm(slack: FakeSlack, incidents: str, *, failures: int, seconds: float, processes: int, cooldown: float) -> Storm:
    """Run processes that fail together, spread evenly over the seconds, and then succeed."""
    each = failures // processes
    environment = {
        **os.environ,
        "RESILIENT_TASKS_INCIDENTS": incidents,
        "RESILIENT_TASKS_NOTIFY_COOLDOWN": str(cooldown),
    }
    with ExitStack() as stack:
        workers = [stack.enter_context(_process(slack, environment)) for _ in range(processes)]
        for process in workers:
            _answer(process)
        every = seconds / each
        begin = time.monotonic() + 0.5
        for number, process in enumerate(workers):
            _order(process, do="fail", calls=each, begin=begin + number * every / processes, every=every)
        failed = [_answer(process) for process in workers]
        for process in workers:
            _order(process, do="succeed", calls=SUCCESSES, every=BETWEEN)
        for process in workers:
            _answer(process)
        left = _left(incidents)
        for process in workers:
            _order(process, do="end")
        ends = [_answer(process) for process in workers]
    over = Storm(each * processes, _kinds(each, processes), cooldown)
    for answer in failed:
        (_, first), *wall = answer["wall"]
        over.first.append(first)
        over.plain += [plain for plain, _ in wall]
        over.alerted += [alerted for _, alerted in wall]
        over.cpu += [alerted - plain for plain, alerted in answer["cpu"][1:]]
        over.late += answer["late"]
        over.behind = max(over.behind, answer["behind"])
    for end in ends:
        over.events.update(end)
    over.left = left
    over.reports, over.repeated = account(slack.messages)
    return over


def account(messages: list[SlackMessage]) -> tuple[dict[str, Report], int]:
    """Return the messages of each incident, by the numbers that a reader sees, and the number of duplicates."""
    reports: dict[str, Report] = {}
    by_key: dict[str, SlackMessage] = {}
    for message in messages:
        about = message.metadata["event_payload"]
        if about["key"] in by_key:
            continue
        by_key[about["key"]] = message
        of = reports.setdefault(about["incident"], Report())
        if about["occasion"] == "first":
            of.firsts += 1
            of.error = (message.history or (message,))[0].text.rpartition(" ")[2]
        elif about["occasion"] == "digest":
            lasted = _number(r"times in ([\d,]+) s\*", message.full_text)
            of.digests.append((lasted, _number(r"failed ([\d,]+) more", message.text)))
        else:
            of.totals.append(_number(r"had failed \*(once|[\d,]+)", message.full_text))
    return reports, len(messages) - len(by_key)


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile of the values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _left(incidents: str) -> int:
    """Wait until every message is sent, and return the number of unsent ones."""
    states = States(opened_by(incidents, PATIENCE)[0], "incidents", bound=PATIENCE)
    outbox, until = Outbox(states), time.monotonic() + PATIENCE
    try:
        while True:
            all_of_them = [each for name in outbox.operations() for each in outbox.incidents(name).all]
            left = sum(len(each.deliveries) + (not each.closed) for each in all_of_them)
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.1)
    finally:
        states.close()


def _kinds(calls: int, processes: int) -> Counter[str]:
    names = "ConnectionError", "TimeoutError", "ValueError"
    return Counter({name: len(range(at, calls, KINDS)) * processes for at, name in enumerate(names)})


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no number in {text!r}")
    return 1 if found[1] == "once" else int(found[1].replace(",", ""))


@contextmanager
def _process(slack: FakeSlack, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, str(WORKER), slack.api_url, slack.token]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, text=True, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            if sys.exc_info()[0] is not None:
                process.kill()
            process.stdin.close()
            process.wait(60)


def _order(process: subprocess.Popen[str], **order: Any) -> None:
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> Any:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the storm ended with {process.wait(10)}")
    return json.loads(line)
