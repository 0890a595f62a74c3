"""A rehearsal as an assertion, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resilient_tasks.rehearsal import matrix
from resilient_tasks.rehearsal.faults import FAMILIES, plan_of
from resilient_tasks.rehearsal.rehearsal import rehearse
from resilient_tasks.rehearsal.results import Rehearsal


def assert_rehearsed(
    flow: Callable[..., Any],
    *,
    runs: int = 20,
    seed: int = 7,
    faults: Iterable[str] = tuple(FAMILIES),
    replay: str = "",
    parameters: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    ignore: Sequence[str] = (),
    patience: float | None = None,
) -> Rehearsal:
    """Rehearse a flow as `rehearse` does, with `replay` as text, and return what came of it.

    Raises:
        AssertionError: a run failed silently, hung or acted twice; the message has the matrix, and how to repeat each.
        CannotRehearseError: as `rehearse`.
        ValueError: as `rehearse`.
    """
    __tracebackhide__ = True
    found = rehearse(
        flow,
        runs=runs,
        seed=seed,
        faults=faults,
        replay=plan_of(replay),
        parameters=parameters,
        folder=folder,
        ignore=ignore,
        patience=patience,
    )
    if not found.passed:
        raise AssertionError(_message(found))
    return found


def _message(found: Rehearsal) -> str:
    families = matrix.columns(found)
    table = [
        f"{task}, {family}: {cell}"
        for task, *cells in matrix.rows(found)
        for family, cell in zip(families, cells, strict=True)
    ]
    return "\n".join(
        [
            f"{found.name} did not pass its rehearsal",
            *matrix.sentences(found, lambda tokens: f"resilient_rehearse({found.name}, replay={tokens!r})"),
            "",
            *table,
        ]
    )
