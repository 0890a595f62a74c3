"""A rehearsal: the run without faults, the runs under faults, and the smallest faults behind each bad verdict."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resilient_tasks.explanation.explanation import explain
from resilient_tasks.explanation.subjects import subject_of
from resilient_tasks.rehearsal.faults import FAMILIES, Plan, families, plan
from resilient_tasks.rehearsal.judge import Ran, judge, shown, unstable
from resilient_tasks.rehearsal.planning import plans
from resilient_tasks.rehearsal.results import Rehearsal, Result
from resilient_tasks.rehearsal.runs import Runs
from resilient_tasks.rehearsal.shrinking import smallest

#: No task is expected to need more attempts than this within one run.
_MOST_ATTEMPTS = 20
_LONGEST_WAITS = 120.0


class CannotRehearseError(Exception):
    """The flow cannot be rehearsed; the message says why, and what to do."""


def rehearse(
    flow: Callable[..., Any],
    *,
    runs: int = 50,
    seed: int = 7,
    faults: Iterable[str] = tuple(FAMILIES),
    replay: Plan = (),
    parameters: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    ignore: Sequence[str] = (),
    prefect: str = "memory",
    patience: float | None = None,
    progress: Callable[[Rehearsal, int], object] = lambda rehearsal, planned: None,  # noqa: ARG005  # says nothing
) -> Rehearsal:
    """Run a flow under faults, each run in a forked child process, and judge each.

    The flow is really run, twice without faults and then once a plan: whatever it does outside of its working folder,
    such as calling services, it does each time. Messages are not sent.

    Args:
        flow: a Prefect flow, or a function that calls tasks.
        runs: how many plans to run at most; finding the smallest faults takes further runs.
        seed: of the plans.
        faults: families of faults, see `FAMILIES`.
        replay: run these faults, and nothing else.
        parameters: of the flow.
        folder: each run works in a copy of it; default: an empty folder.
        ignore: patterns of paths that are not compared, such as `result['at']`.
        prefect: `memory` for a Prefect API in memory, `server` for a temporary Prefect server.
        patience: seconds after which a run is hung; default: it follows from the run without faults.
        progress: called after each run, with the number of planned runs.

    Raises:
        CannotRehearseError: the flow lacks a parameter, fails without faults, or calls no task; or the system cannot
            fork.
        ValueError: an argument is out of range.
    """
    chosen = families(faults)
    if runs < 1:
        raise ValueError(f"runs is a number from 1 up, not {runs!r}")
    if not hasattr(os, "fork"):
        raise CannotRehearseError(
            "A rehearsal forks a process for each run, which this system cannot: use Linux or macOS."
        )
    _check_parameters(flow, parameters or {})
    from resilient_tasks.prefect.rehearsed import runs_elsewhere, server_of  # noqa: PLC0415  # seconds to import

    with server_of(prefect) as server:
        runner = Runs(flow, parameters or {}, folder, server, patience=patience)
        clean, again = _clean(runner), _clean(runner)
        runner.settle(again, *_needed(flow))
        compared = Compared(clean, unstable(clean, again, ignore), runner)
        calls = _numbered(clean.calls)
        elsewhere = runs_elsewhere(flow)
        if not calls:
            where = f" in this process, only by its {elsewhere}: rehearse it with a ThreadPoolTaskRunner"
            raise CannotRehearseError(
                f"The flow calls no task{where if elsewhere else ''}. Faults are injected into tasks, and there is none"
                " to inject."
            )
        tasks = tuple(dict.fromkeys(task for task, _ in calls))
        found = Rehearsal(_name(flow), seed, tasks, ignored=shown(compared.ignored), clean_seconds=again.seconds)
        found.not_injected = elsewhere and f"tasks that its {elsewhere} runs in other processes"
        _run_all(found, compared, [replay] if replay else plans(calls, chosen, runs, seed), progress)
    return found


def _run_all(
    found: Rehearsal, compared: Compared, planned: list[Plan], progress: Callable[[Rehearsal, int], object]
) -> None:
    try:
        for each in planned:
            result = compared.result_of(each)
            found.results.append(result)
            if result.judged.verdict.is_bad:
                _shrink(found, result, compared)
            progress(found, len(planned))
    except KeyboardInterrupt:
        found.was_stopped = True


class Compared:
    """Runs plans, each once, and compares each run with the one without faults.

    Args:
        clean: that run.
        ignored: what is not compared.
        runner: runs the plans.
    """

    def __init__(self, clean: Ran, ignored: frozenset[str], runner: Runs) -> None:
        self.ignored = ignored
        self._clean, self._runner = clean, runner
        self._known: dict[Plan, Result] = {}

    def result_of(self, faults: Plan) -> Result:
        """Run a plan, unless it was run before, and return its result."""
        if faults not in self._known:
            ran = self._runner.run(faults)
            self._known[faults] = Result(faults, judge(self._clean, ran, self.ignored), ran.seconds)
        return self._known[faults]


def _check_parameters(flow: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
    with contextlib.suppress(ValueError):  # not everything that can be called has a signature
        try:
            inspect.signature(flow).bind(**parameters)
        except TypeError as error:
            raise CannotRehearseError(
                f"{_name(flow)} cannot be called with these parameters: {error}. On the command line, write"
                ' --param month=7; in Python, parameters={"month": 7}.'
            ) from None


def _clean(runner: Runs) -> Ran:
    ran = runner.clean()
    if ran.ending != "returned":
        what = (ran.error or f"it was {ran.ending}").removesuffix(".")
        output = ran.output.strip()
        server = " Run it with --prefect server." if "needs a real server" in ran.error + ran.output else ""
        raise CannotRehearseError(
            f"The flow fails without faults: {what}.{server}" + (f" Its output ended with:\n{output}" if output else "")
        )
    return ran


def _shrink(found: Rehearsal, failed: Result, compared: Compared) -> None:
    verdict = failed.judged.verdict
    try:
        part = smallest(failed.faults, lambda other: compared.result_of(plan(other)).judged.verdict is verdict)
    except KeyboardInterrupt:
        found.smallest.append(failed)  # as small as was found in time
        raise
    result = compared.result_of(part)
    if all(result.cause != other.cause for other in found.smallest):
        found.smallest.append(result)


def _numbered(calls: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    numbered = []
    for task, _ in calls:
        counts[task] = counts.get(task, 0) + 1
        numbered.append((task, counts[task]))
    return numbered


def _needed(flow: Callable[..., Any]) -> tuple[int, float]:
    """Return the most attempts of a task, and the seconds that Prefect itself may wait, by `explain`."""
    if subject_of(flow) is None:
        return _MOST_ATTEMPTS, 0.0
    attempts, waits = 1.0, 0.0
    for part in explain(flow).all():
        attempts = max(attempts, part.worst_case.attempts)
        subject = subject_of(part.thing)
        if subject is not None and subject.outer is not None:
            each = itertools.islice(subject.outer.waits.each(), subject.outer.attempts - 1)
            waits += sum(most for _, most in each)
    return int(min(attempts, _MOST_ATTEMPTS)), min(waits, _LONGEST_WAITS)


def _name(flow: object) -> str:
    return str(getattr(flow, "name", None) or getattr(flow, "__name__", "flow"))
