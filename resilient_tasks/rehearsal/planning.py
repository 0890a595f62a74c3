"""Which faults each run gets: seeded, so that the same seed rehearses the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from resilient_tasks.rehearsal.faults import EVERY_TASK, FAMILIES, Fault, Plan, plan

#: Kinds that have no attempt after them, or that every attempt would have alike.
_ONCE = frozenset({"crash", "down"})
_MOST_FAULTS = 3


def plans(calls: Iterable[tuple[str, int]], families: Sequence[str], runs: int, seed: int) -> list[Plan]:
    """Return the plans of the runs.

    Single faults come first: each kind of each task once, in an order drawn by the seed, then each of them in every
    attempt. The runs that are left combine two or three faults.

    Args:
        calls: the calls of the run without faults: the task and the number of the call.
        families: of the faults.
        runs: how many plans to return at most; fewer if there are no more.
        seed: of all draws.
    """
    draw = random.Random(f"rehearsal/{seed}")
    by_task: dict[str, list[int]] = {}
    for task, number in sorted(calls):  # which of two concurrent tasks begins first differs from run to run
        by_task.setdefault(task, []).append(number)
    made: dict[Plan, None] = {}
    for each in _single(by_task, families, draw):
        made.setdefault(plan(each))
        if len(made) >= runs:
            return [*made]
    singles = [*made]
    for _ in range(20 * runs if len(singles) > 1 else 0):
        several = draw.sample(singles, draw.randint(2, min(_MOST_FAULTS, len(singles))))
        made.setdefault(plan(fault for each in several for fault in each))
        if len(made) >= runs:
            break
    return [*made]


def _single(by_task: dict[str, list[int]], families: Sequence[str], draw: random.Random) -> Iterator[tuple[Fault, ...]]:
    """Yield single faults, so that few runs touch all tasks, and many touch every family of each task."""
    tasks = [*by_task]
    for always in (False, True):
        turns: list[list[tuple[str, str]]] = []
        for shift in range(len(families)):
            for number, task in enumerate(tasks):
                family = families[(number + shift) % len(families)]
                forms = [form for form in FAMILIES[family] if not (always and form.partition(":")[2] in _ONCE)]
                draw.shuffle(forms)
                turns.append([(task, form) for form in forms])
        while any(turns):
            for forms_left in filter(None, turns):
                task, form = forms_left.pop()
                yield _faults(task, draw.choice(by_task[task]), form, always=always)


def _faults(task: str, call: int, form: str, *, always: bool) -> tuple[Fault, ...]:
    where, _, kind = form.partition(":")
    if where == "alerts":  # a channel that is down matters if there is something to report
        return (Fault(EVERY_TASK, 0, "alerts", kind), Fault(task, call, "before", "refused", always=True))
    return (Fault(task, call, where, kind, always),)  # type: ignore[arg-type]  # one of the forms
