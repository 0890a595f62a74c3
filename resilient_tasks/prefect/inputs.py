"""Degraded data as the input of later runs: what came from a fallback, or from a batch with quarantined rows.

Prefect records from which runs the inputs of a task run come: of futures and states by their id, and of a result that
is passed on directly by the identity of the object. Here each such link to a degraded run is checked, because Python
shares some objects: an equal constant may be the same object, and the address of a deleted one is used again. Objects
are also recognized where Prefect does not look: in a subflow, and outside of flows.

While no result is degraded, nothing is looked up.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from itertools import islice
from math import isfinite
from types import FunctionType, ModuleType
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote
from prefect.utilities.collections import StopVisiting, visit_collection

from resilient_tasks.core.events import (
    FallbackUsed,
    InputDegraded,
    RowsQuarantined,
    in_the_quarantine,
    rows_quarantined,
)
from resilient_tasks.core.wording import age, named_few
from resilient_tasks.prefect import undocumented

#: The most runs, objects, and origins of one result to remember, and parts of one result to recognize.
_RUNS, _OBJECTS, _ORIGINS, _PARTS = 4096, 16384, 20, 256
#: The most runs to describe to another process.
_SENT = 256
#: The most names in a message.
_NAMED = 3
#: How many elements of a container are compared.
_SAMPLE, _SEARCHED = 8, 10_000
#: Python keeps one object for each text that is shorter than this.
_SHORT = 2


@dataclass(frozen=True, slots=True)
class Origin:
    """Where data was degraded.

    Attributes:
        operation: the operation whose result it is.
        reason: how it was degraded.
        age: the age of the last good result that stood in, in seconds.
        is_stand_in: the data is, or is made from, that of a fallback; else rows are missing.
    """

    operation: str
    reason: str
    age: float | None = None
    is_stand_in: bool = True

    def __str__(self) -> str:
        old = "" if self.age is None else f", {age(self.age)} old"
        return f"{self.operation} ({self.reason}{old})"


def origin_of(event: FallbackUsed) -> Origin:
    """Return the origin of a result that a fallback gave."""
    return Origin(event.operation, f"fallback {event.fallback}", event.age)


def quarantined(events: Iterable[RowsQuarantined]) -> list[Origin]:
    """Return the origins of results from which rows were quarantined."""
    batches: dict[str, list[RowsQuarantined]] = {}
    for event in in_the_quarantine(events):
        batches.setdefault(event.operation, []).append(event)
    return [Origin(operation, rows_quarantined(some), is_stand_in=False) for operation, some in batches.items()]


def merged(*origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """Return the origins without repetitions, at most twenty."""
    return tuple(islice(dict.fromkeys(origin for some in origins for origin in some), _ORIGINS))


def message(origins: Iterable[Origin]) -> str:
    """Return `computed from degraded input: fetch (fallback last_good, 3 h old)`; empty if there is no origin."""
    names = [str(origin) for origin in origins]
    return f"computed from degraded input: {named_few(names, _NAMED)}" if names else ""


def event(operation: str, call: str, origins: Iterable[Origin]) -> InputDegraded:
    """Return the event that a run of `operation` computes from data of these origins."""
    found = tuple(origins)
    names = list(dict.fromkeys(origin.operation for origin in found))
    return InputDegraded(
        operation=operation,
        call=call,
        source=named_few(names, _NAMED),
        reason=named_few([str(origin) for origin in found], _NAMED),
        age=max((origin.age for origin in found if origin.age is not None), default=None),
    )


#: The latest runs of tasks and flows whose results are degraded, and their origins.
_degraded: OrderedDict[UUID, tuple[Origin, ...]] = OrderedDict()

#: The objects in those results by their id: the run, and a function that returns whether it is still that object.
_objects: OrderedDict[int, tuple[UUID, Callable[[Any], bool]]] = OrderedDict()


def any_known() -> bool:
    """Return whether any result is degraded."""
    return bool(_degraded)


def latest() -> dict[UUID, tuple[Origin, ...]]:
    """Return the latest of them, for another process to learn."""
    runs = list(_degraded.copy().items())
    return dict(runs[-_SENT:])


def learn(run: UUID, origins: tuple[Origin, ...]) -> None:
    """Remember that the result of a run is degraded: it ended in this process, or its state has arrived here."""
    _degraded[run] = merged(origins, _degraded.get(run, ()))
    while len(_degraded) > _RUNS:
        _degraded.popitem(last=False)


def remember(run: UUID, origins: tuple[Origin, ...], result: Any) -> None:
    """Remember that the result of a run is degraded, to recognize it and its parts as arguments."""
    learn(run, origins)
    parts = 0

    def add(item: Any) -> None:
        nonlocal parts
        if parts < _PARTS and (is_same := _recognizer(item, is_part=item is not result)) is not None:
            parts += 1
            _objects[id(item)] = run, is_same

    visit_collection(result, add, return_data=False, max_depth=1)  # as deep as Prefect does
    while len(_objects) > _OBJECTS:
        _objects.popitem(last=False)


def of_this_task_run() -> tuple[Origin, ...]:
    """Return the origins of degraded data among the inputs of the current task run; call it from the engine's body."""
    found = undocumented.engine_run() if _degraded else None
    if found is None:
        return ()
    _, run = found
    linked = {each.id for name, each in _links(run.task_inputs)}
    given = undocumented.given_to_the_engine()
    if given is None:  # trust Prefect's links: what was passed is no longer known
        return _origins_of(linked)
    parameters, dependencies = given
    mapped = {each.id for _, each in _links(dependencies or {})} & linked
    return _origins_of(_runs_in(parameters) | mapped)


def of_arguments(*arguments: Any) -> tuple[Origin, ...]:
    """Return the origins of degraded data among `arguments`."""
    return _origins_of(_runs_in(arguments)) if _degraded else ()


def _links(inputs: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield the runs from which data comes: not those that are only waited for, or run around this one."""
    for name, runs in inputs.items():
        if name not in {"wait_for", "__parents__"}:
            yield from ((name, each) for each in runs if hasattr(each, "id"))


def _origins_of(runs: set[UUID]) -> tuple[Origin, ...]:
    return merged(*(origins for run, origins in _degraded.copy().items() if run in runs)) if runs else ()


def _runs_in(values: Any) -> set[UUID]:
    """Return the runs whose futures, states or results are in `values`."""
    found: set[UUID] = set()

    def visit(item: Any) -> None:
        if isinstance(item, quote):
            raise StopVisiting  # Prefect looks for no inputs there
        if isinstance(item, PrefectFuture):
            found.add(item.task_run_id)
        elif isinstance(item, State):
            found.update(filter(None, (item.state_details.task_run_id, item.state_details.flow_run_id)))
        elif (known := _objects.get(id(item))) is not None and known[1](item):
            found.add(known[0])

    visit_collection(values, visit, return_data=False)
    return found


def _recognizer(item: Any, *, is_part: bool) -> Callable[[Any], bool] | None:
    """Return a function that recognizes `item` among objects with its id; None if equal constants may share it."""
    if isinstance(item, type | Enum | FunctionType | ModuleType):
        return None
    if type(item).__weakrefoffset__:
        alive = weakref.ref(item)
        return lambda other: alive() is other
    if isinstance(item, list | tuple | dict | set | frozenset):
        return _containers_like(item) if item or isinstance(item, list | dict | set) else None
    return None if is_part or _may_be_shared(item) else _values_like(item)


def _may_be_shared(item: object) -> bool:
    """Return whether equal constants elsewhere may be this very object: small and whole numbers, and names."""
    if isinstance(item, float):
        return not isfinite(item) or item.is_integer()
    if isinstance(item, str | bytes):
        return len(item) < _SHORT or item.isalnum() or (isinstance(item, str) and item.isidentifier())
    return not isinstance(item, Decimal)


def _values_like(item: str | bytes | float | Decimal) -> Callable[[Any], bool]:
    kind, value = type(item), hash(item)  # without keeping a long text alive
    return lambda other: type(other) is kind and hash(other) == value


def _containers_like(item: Any) -> Callable[[Any], bool]:
    """Return a function that recognizes a container by its type and its elements, which it does not keep alive."""
    kind, first = type(item), set(_ids_in(item, _SAMPLE))

    def is_same(other: Any) -> bool:
        if type(other) is not kind:
            return False
        return not first.isdisjoint(_ids_in(other, _SEARCHED)) if first else not other

    return is_same


def _ids_in(container: Any, most: int) -> Iterable[int]:
    return map(id, islice(container.values() if isinstance(container, dict) else container, most))
