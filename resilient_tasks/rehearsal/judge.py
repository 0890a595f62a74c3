"""The verdict on a run: it is compared with the run without faults. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from resilient_tasks.rehearsal.faults import Plan


class Verdict(StrEnum):
    """What a run did, the worst first."""

    SILENT = "failed silently"
    HUNG = "hung"
    TWICE = "acted twice"
    LOUD = "failed loudly"
    DEGRADED = "degraded"
    RECOVERED = "recovered"
    UNTOUCHED = "not reached"

    @property
    def is_bad(self) -> bool:
        """Whether it is a fault of the flow, which the rehearsal reports."""
        return self in {Verdict.SILENT, Verdict.HUNG, Verdict.TWICE}


#: From bad to good.
WORST_FIRST: tuple[Verdict, ...] = tuple(Verdict)


#: Stands for all names of a folder, or of a dict.
_ANY = "*"


@dataclass(frozen=True)
class Ran:
    """What is known of one run.

    Attributes:
        faults: of its plan.
        struck: those that were injected.
        ending: how it ended: it `returned`, `raised`, was `hung`, or its process `died`.
        error: with which error.
        values: what it returned and wrote, by path: `result['rows']`, `files/out.csv`.
        effects: what it did that must not be done twice, and how often.
        marks: what it says of itself: fallbacks, quarantined rows, alerts; and how often, or of how many rows.
        seconds: how long it took.
        calls: of its tasks, in order: the task and the digest of the arguments.
        attempt_seconds: the longest attempt of each task.
        limits: the time limits of Prefect's own around its tasks, in seconds, each once.
        output: the end of what it printed.
    """

    faults: Plan
    struck: frozenset[str] = frozenset()
    ending: str = "returned"
    error: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    calls: tuple[tuple[str, str], ...] = ()
    attempt_seconds: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[float, ...] = ()
    output: str = ""


@dataclass(frozen=True)
class Judged:
    """A verdict with its reason in one sentence."""

    verdict: Verdict
    why: str = ""


def unstable(one: Ran, other: Ran, ignore: Iterable[str] = ()) -> frozenset[str]:
    """Return the paths that differ between two runs without faults, or that are to be ignored.

    If a part is in only one of the two, its name, or that of a folder around it, is new in each run: `folder/*` then
    stands for all names in the folder, or in the dict, that the run without faults does not have.
    """
    paths = one.values.keys() | other.values.keys()
    patterns = tuple(ignore)
    different = {
        path
        for path in paths
        if one.values.get(path) != other.values.get(path) or any(fnmatchcase(path, pattern) for pattern in patterns)
    }
    shared = _folders_of(one.values) & _folders_of(other.values)
    only_once = one.values.keys() ^ other.values.keys()
    new = {max(shared.intersection(_around(path)), key=len, default=_around(path)[0]) for path in only_once}
    return frozenset(different | {folder + _ANY for folder in new})


def shown(ignored: Iterable[str]) -> tuple[str, ...]:
    """Return what is not compared, sorted, without the single names of a folder whose names are new in each run."""
    paths = sorted(ignored)
    folders = tuple(path.removesuffix(_ANY) for path in paths if path.endswith(_ANY))
    return tuple(path for path in paths if path.endswith(_ANY) or not path.startswith(folders))


def _folders_of(paths: Iterable[str]) -> set[str]:
    return {folder for path in paths for folder in _around(path)}


def _around(path: str) -> list[str]:
    """Return the folders around a part, the outermost first: `files/`, `files/parts/`; of `result['a']`, `result[`."""
    ends = "/[" if path.startswith("files/") else "[."  # a file's name has dots
    return [path[: at + 1] for at, letter in enumerate(path) if letter in ends] or [path]


def judge(clean: Ran, run: Ran, ignored: frozenset[str] = frozenset()) -> Judged:
    """Return the verdict on `run`.

    Args:
        clean: the run without faults.
        run: the run under faults.
        ignored: paths that are not compared, nor what is below them.
    """
    if run.ending == "hung":
        return Judged(Verdict.HUNG, f"it was not over after {run.seconds:.1f} s")
    if not run.struck:
        return Judged(Verdict.UNTOUCHED, "no fault was injected: no call is left to inject it into")
    if repeated := _repeated(clean, run):
        return Judged(Verdict.TWICE, "; ".join(repeated[:3]))
    if run.ending != "returned":
        return Judged(Verdict.LOUD, run.error or run.ending)
    return _completed(clean, run, ignored)


def _completed(clean: Ran, run: Ran, ignored: frozenset[str]) -> Judged:
    differences = _differences(clean, run, ignored)
    if not differences:
        return Judged(Verdict.RECOVERED)
    # What the run without faults says too does not explain the difference.
    if marks := [text for text, count in run.marks.items() if count > clean.marks.get(text, 0)]:
        return Judged(Verdict.DEGRADED, "; ".join(marks))
    return Judged(Verdict.SILENT, "; ".join(differences[:3]))


def _repeated(clean: Ran, run: Ran) -> list[str]:
    """Return the effects that happened more often; those of a file only if no data was wrong: it would be in there."""
    wrong_data = any(fault.where == "data" and fault.token in run.struck for fault in run.faults)
    return [
        f"{what}: {count} times, {clean.effects[what]} without faults"
        for what, count in run.effects.items()
        if count > clean.effects.get(what, 0)
        and what in clean.effects
        and not (wrong_data and what.startswith("files/"))
    ]


def _differences(clean: Ran, run: Ran, ignored: frozenset[str]) -> list[str]:
    paths = [*clean.values, *(path for path in run.values if path not in clean.values)]
    return [
        f"{path} is {run.values.get(path, 'absent')}, {clean.values.get(path, 'absent')} without faults"
        for path in paths
        if clean.values.get(path) != run.values.get(path)
        and not _is_ignored(path, ignored)
        and not (path not in clean.values and _is_new(path, ignored))
    ]


def _is_ignored(path: str, ignored: frozenset[str]) -> bool:
    return path in ignored or any(path.startswith((f"{each}.", f"{each}[")) for each in ignored)


def _is_new(path: str, ignored: frozenset[str]) -> bool:
    return any(each.endswith(_ANY) and path.startswith(each.removesuffix(_ANY)) for each in ignored)
