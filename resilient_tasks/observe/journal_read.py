"""Read the event files of runs back: which runs there are, what happened in one, and whether anything is missing."""

from __future__ import annotations

import functools
import os
import socket
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

import orjson

from resilient_tasks.core.events import EVENTS, Event
from resilient_tasks.core.events.event import names_of_fields
from resilient_tasks.core.wording import moment, named_few, number_of
from resilient_tasks.observe import journal
from resilient_tasks.safely import of_class

#: What a run's ids and names are called in a line; every other unknown name is of a newer version.
_RUN = ("flow_run_id", "flow_run", "task_run_id", "task_run", "url")
#: Bytes at the beginning and end of a file that say what it is about.
_HEAD, _TAIL = 4_096, 65_536
#: Lines that are no events of calls.
_NOTES = ("file.begun", "file.resumed", "run.started", "run.ended", "process.ended", "events.left_out")
#: The most names of unknown events to remember.
_NAMES = 100


#: What a field of such a type may be in JSON.
_JSON: Mapping[Any, frozenset[type]] = {
    str: frozenset((str,)),
    bool: frozenset((bool,)),
    int: frozenset((int,)),
    float: frozenset((float, int)),
    Mapping: frozenset((dict,)),
    tuple: frozenset((list,)),
    type(None): frozenset((type(None),)),
}
_NUMBERS = frozenset((int, float))
#: The greatest number of seconds that is a date.
_LAST_DATE = 2e11


class _Form(NamedTuple):
    """How lines with the same names and types become an event.

    Attributes:
        shown: the names in the line.
        types: the types of their values.
        kind: the class of the event; None if lines of this form are no event.
        names: the event's fields.
        values: returns their values in the line.
        run: the names of the run's ids and names in the line.
        numbers: the fields that are seconds.
        parts: the fields that are mappings or lists.
    """

    shown: tuple[str, ...]
    types: tuple[type, ...]
    kind: type[Event] | None = None
    names: tuple[str, ...] = ()
    values: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter("time", "time")
    run: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@of_class
def _types_of(kind: type[Event]) -> Mapping[str, tuple[str, frozenset[type]]]:
    """Return the fields by their names in `as_dict()`: the attribute, and its types in JSON, empty if it may be any."""
    hints = typing.get_type_hints(kind)
    found = {}
    for name, shown in names_of_fields(kind).items():
        parts = typing.get_args(hints[name]) if isinstance(hints[name], UnionType) else (hints[name],)
        each = [_JSON.get(typing.get_origin(part) or part) for part in parts]
        types = frozenset[type]().union(*(one or () for one in each)) if None not in each else frozenset[type]()
        found[shown] = name, types
    return found


@functools.lru_cache(1024)  # few forms, unless a person wrote the lines
def _form_of(name: object, names: tuple[str, ...], types: tuple[type, ...]) -> _Form:
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        return _Form(names, types)
    fields, run = _types_of(kind), []
    known, numbers, parts = {}, [], []
    for shown, its in zip(names, types, strict=True):
        if shown in fields:
            attribute, allowed = fields[shown]
            if allowed and its not in allowed:
                return _Form(names, types)
            known[shown] = attribute
            numbers += [attribute] * (its in _NUMBERS and float in allowed)
            parts += [attribute] * (bool(allowed) and its in {dict, list})
        elif shown in _RUN and its is str:
            run.append(shown)
    given = {*known.values(), *kind._defaults, "run"}  # noqa: SLF001  # as its constructor would check
    if given != kind._names:  # noqa: SLF001  # as above
        return _Form(names, types)
    values = itemgetter(*known)
    return _Form(names, types, kind, tuple(known.values()), values, tuple(run), tuple(numbers), tuple(parts))


#: The form of the newest line of each class.
_newest: dict[str, _Form] = {}


def event_of(values: Mapping[str, Any]) -> Event | None:
    """Return the event that a line describes.

    None if its class is unknown to this version, a field is missing, or a value has the wrong type. An event holds no
    secret when it is written, so it is not redacted again.
    """
    name, names, types = values.get("event.name"), tuple(values), tuple(map(type, values.values()))
    if type(name) is not str:
        return None
    form = _newest.get(name)
    if form is None or form.shown != names or form.types != types:  # most lines of a class are alike
        form = _newest[name] = _form_of(name, names, types)
        if len(_newest) > _NAMES:
            _newest.clear()
    if form.kind is None:
        return None
    event = object.__new__(form.kind)  # its constructor would redact
    found = vars(event)
    found.update(form.kind._defaults)  # noqa: SLF001  # as the constructor does
    found.update(zip(form.names, form.values(values), strict=True))
    found["run"] = {shown: values[shown] for shown in form.run}
    for number in form.numbers:
        if not -_LAST_DATE < found[number] < _LAST_DATE:
            return None
    for part in form.parts:
        each = found[part]
        if not all(
            type(one) is str or type(one) in _NUMBERS for one in (each.values() if type(each) is dict else each)
        ):
            return None
    return event


@dataclass
class _Process:
    """What a file says about the process that wrote it, and about the run in that process."""

    path: Path
    about: dict[str, Any] = field(default_factory=dict)
    started: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_before: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    number: int = -1
    has_ended: bool = False
    last: float = 0.0

    def count(self, number: Any) -> None:
        """Take in the number of a line."""
        if type(number) is int:
            if number > self.number + 1:
                self.gone += number - self.number - 1
            self.number = number

    def note(self, values: dict[str, Any]) -> None:
        """Take in a line about the file itself, the run or the process."""
        self.last = max(self.last, _time(values))
        match values["event.name"]:
            case "file.begun":
                self.about = values
            case "file.resumed":
                self.left_out_before += self.left_out
                self.left_out = Counter()
            case "run.started":
                self.started, self.ended = values, None
            case "run.ended":
                self.ended = None if values.get("again") else values
            case "process.ended":
                self.has_ended = True
            case "events.left_out":
                counts = values.get("events")
                if isinstance(counts, dict):
                    self.left_out = Counter({name: n for name, n in counts.items() if type(n) is int})

    def is_alive(self) -> bool | None:
        """Return whether the process still runs; None if that cannot be known here."""
        if self.has_ended:
            return False
        pid, began = self.about.get("pid"), self.about.get("process_started")
        if self.about.get("host") != socket.gethostname() or type(pid) is not int or type(began) is not float:
            return None
        import psutil  # noqa: PLC0415  # only to read a run that has no end

        try:
            return bool(abs(psutil.Process(pid).create_time() - began) < 1.0)
        except (psutil.Error, ValueError, OverflowError):
            return False

    def name(self) -> str:
        """Return the process in words."""
        return f"process {self.about.get('pid', '?')} on {self.about.get('host', '?')}"


class Recording:
    """The event files of one run.

    Args:
        paths: the files, one for each process.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths: Sequence[Path] = paths
        self._processes = [_Process(path) for path in paths]
        self._unknown: Counter[str] = Counter()
        self._torn: int = 0
        self._unreadable: int = 0

    @classmethod
    def of(cls, run: str | os.PathLike[str] = "latest", folder: Path | None = None) -> Recording:
        """Return the recording of a run.

        Args:
            run: its id or name, `"latest"`, the folder of its files, or one file.
            folder: has a folder for each run; by default the one that this process writes to.

        Raises:
            LookupError: there is no such run, or several have this name.
        """
        path = Path(run).expanduser()
        if path.is_file():
            return cls([path])
        if path.is_dir() and (files := sorted(path.glob("*.jsonl"))):
            return cls(files)
        folder = folder or journal.folder()
        known = known_runs(folder)
        if not known:
            raise LookupError(f"No run has written events to {folder} yet.")
        name = str(run)
        if name == "latest":
            return cls(known[0].files)
        named = [each for each in known if name in {each.id, each.name}] or [
            each for each in known if each.id.startswith(name)
        ]
        if not named:
            few = named_few([each.name or each.id for each in known], 10)
            raise LookupError(f"No run {name} is in {folder}. There: {few}.")
        if len(named) > 1:
            ids = named_few([each.id for each in named], 10)
            raise LookupError(f"{len(named)} runs are called {name}: give the id of one of them: {ids}.")
        return cls(named[0].files)

    def events(self) -> Iterator[Event]:
        """Yield the events of all processes, one file after the other."""
        for process in self._processes:
            last = 0.0
            for values in self._lines(process.path):
                process.count(values.get("line"))
                event = event_of(values)
                if event is not None:
                    last = max(last, event.time)
                    yield event
                elif values.get("event.name") in _NOTES:
                    process.note(values)
                else:
                    self._count_unknown(str(values.get("event.name", "?"))[:80])
            process.last = max(process.last, last)

    def _count_unknown(self, name: str) -> None:
        if name in EVENTS:
            self._unreadable += 1
        elif name in self._unknown or len(self._unknown) < _NAMES:
            self._unknown[name] += 1

    def _lines(self, path: Path) -> Iterator[dict[str, Any]]:
        with path.open("rb") as file:
            for line in file:
                try:
                    values = _decode(line)
                except ValueError:
                    if line.strip():
                        self._torn += not line.endswith(b"\n")
                        self._unreadable += line.endswith(b"\n")
                    continue
                if isinstance(values, dict):
                    yield values
                else:
                    self._unreadable += 1

    def run(self) -> dict[str, Any]:
        """Return what the files say about the run itself, once the events were read."""
        starts = [each.started for each in self._processes if each.started]
        ends = [each.ended for each in self._processes if each.ended]
        found: dict[str, Any] = {}
        if starts:
            first = min(starts, key=_time)
            names = {"id": "flow_run_id", "name": "flow_run", "url": "url"}
            found = {name: first[shown] for name, shown in names.items() if type(first.get(shown)) is str}
            found["started"] = _time(first)
        if ends and not self._going_on():
            found["ended"] = max(map(_time, ends))
        return found

    def partial(self) -> str | None:
        """Return why the report is incomplete, as a sentence; None if it is complete. Read the events first."""
        reasons: list[str] = []
        if going_on := self._going_on():
            reasons += map(_why_unended, going_on)
        elif not any(each.started for each in self._processes):
            reasons += filter(None, map(_why_unknown, self._processes))
        left_out = sum((each.left_out + each.left_out_before for each in self._processes), Counter())
        if left_out:
            few = named_few([f"{name} ×{count:,}" for name, count in left_out.most_common()], 5)
            reasons.append(f"{number_of(left_out.total(), 'event')} could not be kept in the files ({few})")
        if gone := sum(each.gone for each in self._processes):
            reasons.append(f"{number_of(gone, 'line')} of the files {'is' if gone == 1 else 'are'} gone")
        return "; ".join(reasons) or None

    def remarks(self) -> list[str]:
        """Return remarks about lines that are no event of this version. Read the events first."""
        few = named_few([f"{name} ×{count:,}" for name, count in self._unknown.most_common()], 5)
        remarks = {
            f"events of a class that this version does not know: {few}": self._unknown.total(),
            f"{number_of(self._torn, 'line')} cut short at the end of a file, and dropped": self._torn,
            f"{number_of(self._unreadable, 'line')} could not be read, and dropped": self._unreadable,
        }
        return [text for text, count in remarks.items() if count]

    def _going_on(self) -> list[_Process]:
        """Return the processes in which the flow's function began and has no end, unless a later one ended."""
        began = [each for each in self._processes if each.started]
        newest = max(began, key=lambda each: _time(each.started or {}), default=None)
        return [newest] if newest is not None and newest.ended is None else []


def _why_unended(process: _Process) -> str:
    last = f"its last event is of {moment(process.last)}"
    match process.is_alive():
        case True:
            return f"the run is still going on, in {process.name()}: {last}"
        case False if process.has_ended:
            return f"{process.name()} ended before the run did: {last}"
        case False:
            return f"{process.name()} was killed in the middle of the run: {last}"
    return f"the run has no end in the files, and {process.name()} cannot be asked from here: {last}"


def _why_unknown(process: _Process) -> str:
    if process.about and process.is_alive():
        return f"{process.name()} is still running, and the flow is no @resilient_flow, whose end would be recorded"
    return ""


@dataclass(frozen=True)
class KnownRun:
    """A run that has files.

    Attributes:
        id: the flow run's id.
        name: its name; empty if it is unknown.
        operation: the flow's function; empty if it is unknown.
        started: in unix seconds.
        state: `"completed"`, `"failed"`, `"running"`, `"killed"`, or `"unknown"`.
        size: of the files, in bytes.
        files: one for each process.
    """

    id: str
    name: str
    operation: str
    started: float
    state: str
    size: int
    files: Sequence[Path]


def known_runs(folder: Path | None = None) -> list[KnownRun]:
    """Return the runs that have files, the newest first."""
    folder = folder or journal.folder()
    if not folder.is_dir():
        return []
    runs = (_known(each, sorted(each.glob("*.jsonl"))) for each in folder.iterdir() if each.is_dir())
    return sorted((run for run in runs if run is not None), key=lambda run: run.started, reverse=True)


def _known(folder: Path, files: Sequence[Path]) -> KnownRun | None:
    if not files:
        return None
    recording, first, name = Recording(files), 0.0, ""
    for process in recording._processes:  # noqa: SLF001  # same module
        for values in _ends(process.path):
            if values.get("event.name") in _NOTES:
                process.note(values)
            first = min(first or _time(values), _time(values))
            name = name or str(values.get("flow_run", ""))
            process.last = max(process.last, _time(values))
    starts = [each.started for each in recording._processes if each.started]  # noqa: SLF001  # same module
    began = min(starts, key=_time, default=None)
    operation = str((began or {}).get("operation", ""))
    size = sum(path.stat().st_size for path in files)
    return KnownRun(folder.name, name, operation, _time(began) if began else first, _state(recording), size, files)


def _state(recording: Recording) -> str:
    processes = recording._processes  # noqa: SLF001  # same module
    if going_on := recording._going_on():  # noqa: SLF001  # as above
        return {True: "running", False: "killed", None: "unknown"}[going_on[0].is_alive()]
    ends = [each.ended for each in processes if each.ended]
    return str(max(ends, key=_time).get("how", "unknown")) if ends else "unknown"


def _ends(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines at the beginning and at the end of a file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        parts = [file.read(_HEAD if size > _HEAD + _TAIL else size)]
        if size > _HEAD + _TAIL:
            file.seek(size - _TAIL)
            parts.append(file.read())
    for line in b"\n".join(parts).splitlines():
        try:
            values = _decode(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values


def _time(values: Mapping[str, Any]) -> float:
    time: Any = values.get("time")
    return float(time) if type(time) in _NUMBERS and 0 <= time < _LAST_DATE else 0.0


def _decode(line: bytes) -> Any:
    """Return the value of a line.

    Raises:
        ValueError: it is no JSON.
    """
    return orjson.loads(line)
