"""What can be explained: a pipeline, a resilient function, a task or a flow."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from resilient_tasks import safely
from resilient_tasks.core.bounds import Waits
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import Pipeline, Policy, operation_of
from resilient_tasks.decorators.decorate import Plan, plan_of
from resilient_tasks.explanation.worst_case import OuterLoop, WorstCase, worst_case

if TYPE_CHECKING:
    from resilient_tasks.explanation.finding import Found

#: What a rule yields: a code, a sentence, and what to write instead.
Remarks: TypeAlias = Iterable[tuple[str, str, str]]
SubjectKind: TypeAlias = Literal["pipeline", "function", "task", "flow"]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Attributes:
        kind: what it is.
        name: its name; empty for a pipeline.
        policies: around it, outermost first.
        fn: the user's function; None for a pipeline.
        idempotent: whether it may be done twice; None if that is not known.
        is_async: whether its function is async; None if there is none.
        outer: Prefect's own retry loop around all of it.
        thing: the object itself.
        plan: of a decorated function.
        within: the seconds of the deadline of the flow around it, which it inherits.
    """

    kind: SubjectKind
    name: str
    policies: tuple[Policy, ...]
    fn: Callable[..., Any] | None = None
    idempotent: bool | None = None
    is_async: bool | None = None
    outer: OuterLoop | None = None
    thing: Any = field(default=None, repr=False)
    plan: Plan | None = field(default=None, repr=False)
    within: float = math.inf

    @property
    def place(self) -> str:
        """The file and line of the function, as `flows.py:12`; empty if not known."""
        code = getattr(inspect.unwrap(self.fn), "__code__", None) if self.fn is not None else None
        return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"

    @property
    def shows_calls(self) -> bool:
        """Whether it is explained with what it calls: a flow, or a task of Prefect's own."""
        return self.kind == "flow" or (self.kind == "task" and self.plan is None)

    def of_slot(self, *slots: str) -> list[Any]:
        """Return the policies in these slots."""
        return [policy for policy in self.policies if policy.slot in slots]


@dataclass(frozen=True)
class Context:
    """What rules know besides the pipeline.

    Attributes:
        subject: whose pipeline it is.
        calls: what its function calls.
        workers: a sentence's beginning if several processes run it, such as `4 workers run it`; else empty.
        is_in_memory: whether shared state is in the memory of each process.
    """

    subject: Subject
    calls: Found
    workers: str
    is_in_memory: bool

    @functools.cached_property
    def worst(self) -> WorstCase:
        """Its worst case."""
        return worst_case(self.subject.policies, self.subject.outer, self.subject.within)


def subject_of(what: Any) -> Subject | None:
    """Return what is explained; None if `what` cannot be."""
    if safely.is_a(what, Pipeline):
        return Subject("pipeline", "", what.policies, thing=what)
    fn = safely.attribute(what, "fn")
    plan = plan_of(what) or plan_of(fn) or safely.attribute(what, "plan")
    kind = _kind_of_prefect(what)
    if safely.is_a(plan, Plan):
        outer = _outer_loop(what) if kind != "function" else None
        policies = plan.pipeline.policies
        return Subject(kind, plan.operation, policies, plan.fn, plan.idempotent, plan.is_async, outer, what, plan)
    return _of_prefects_own(what, kind, fn) if kind == "flow" else None


def of_prefects_own_task(what: Any) -> Subject | None:
    """Return a task of Prefect's own without policies, which may call resilient functions; None for anything else."""
    return _of_prefects_own(what, "task", safely.attribute(what, "fn")) if _kind_of_prefect(what) == "task" else None


def _of_prefects_own(what: Any, kind: SubjectKind, fn: Any) -> Subject | None:
    if not callable(fn):
        return None
    return Subject(kind, operation_of(fn), (), fn, None, callables.is_async(fn), _outer_loop(what), what)


def _kind_of_prefect(what: object) -> SubjectKind:
    for kind in type(what).__mro__:
        if kind.__module__ in {"prefect.tasks", "prefect.flows"} and kind.__name__ in {"Task", "Flow"}:
            return "task" if kind.__name__ == "Task" else "flow"
    return "function"


def _outer_loop(what: Any) -> OuterLoop | None:
    retries = safely.attribute(what, "retries")
    if not isinstance(retries, int) or retries < 1:
        return None
    delays = safely.attribute(what, "retry_delay_seconds") or 0
    jitter = safely.attribute(what, "retry_jitter_factor") or 0
    given = [*delays] if isinstance(delays, Sequence) else [delays]
    each = tuple((0.0 if jitter else float(delay), float(delay) * (1 + jitter)) for delay in given)
    return OuterLoop(retries + 1, Waits(each[:-1], each[-1]), f"Prefect's retries={retries}")
