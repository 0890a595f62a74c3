"""`@resilient_flow`: Prefect's `@flow`, with policies around the run, and a report of what happened in it."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast, overload

from prefect import Flow
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from resilient_tasks import decorate
from resilient_tasks.core import runtime, settings
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import Event, bus
from resilient_tasks.decorate import Plan, PolicyOptions
from resilient_tasks.observe import logs
from resilient_tasks.observe.report import RunReport
from resilient_tasks.orchestrate import runs

P = ParamSpec("P")
R = TypeVar("R")

_OURS = frozenset(PolicyOptions.__annotations__)
_PREFECTS = frozenset(inspect.signature(Flow.__init__).parameters) - {"self", "fn"}


@overload
def resilient_flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def resilient_flow(**options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def resilient_flow(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a Prefect flow with policies around the whole run, and a run report as its artifact.

    Takes the keywords of `resilient` and every keyword of Prefect's `@flow`. A deadline given here is inherited by the
    resilient tasks of the run. Where anything failed, recovered or was degraded, a Markdown artifact with the key
    `resilience-report` says what, named worst first.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_make, options=options)
    return _make(fn, options)


def _make(fn: Callable[..., Any], options: dict[str, Any]) -> Flow[..., Any]:
    logs.install()
    runs.connect()
    unknown = [name for name in options if name not in _OURS | _PREFECTS]
    if unknown:
        msg = f"@resilient_flow has no keyword {unknown[0]!r}; it takes {', '.join(sorted(_OURS))}, and those of @flow"
        raise PolicyError(msg)
    if isinstance(fn, Flow):
        msg = f"{fn.name} is a Prefect flow already: replace its @flow by @resilient_flow instead of stacking them"
        raise PolicyError(msg)
    ours = {name: value for name, value in options.items() if name in _OURS}
    theirs = {name: value for name, value in options.items() if name not in _OURS}
    if ours.get("retry") is not None and theirs.get("retries"):
        msg = f"{fn.__name__} has both retry= and Prefect's retries=: two retry loops multiply. Drop one of them"
        raise PolicyError(msg)
    plan = decorate.make_plan(fn, cast("PolicyOptions", ours))
    return Flow(fn=_body(plan), **theirs)


def _body(plan: Plan) -> Callable[..., Any]:
    fn, run = plan.fn, plan.pipeline.run
    if plan.is_async:

        @functools.wraps(fn)
        async def async_body(*args: Any, **kwargs: Any) -> Any:
            if not settings.current.enabled:
                return await fn(*args, **kwargs)
            with reported():
                return (await run(plan.work(args, kwargs))).unwrap()

        return plan.owned_by(async_body)

    @functools.wraps(fn)
    def body(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return fn(*args, **kwargs)
        with reported():
            return runtime.drive(run(plan.work(args, kwargs))).unwrap()

    return plan.owned_by(body)


@contextmanager
def reported() -> Iterator[None]:
    """Gather the events of this flow run, and leave their report as an artifact where there is anything to report."""
    context = FlowRunContext.get()
    run_id = str(context.flow_run.id) if context is not None and context.flow_run is not None else None
    seen: list[Event] = []

    def of_this_run(event: Event) -> None:
        if event.run.get("flow_run_id") == run_id:
            seen.append(event)

    try:
        with bus.listening(of_this_run):
            yield
    finally:
        report = RunReport(seen)
        if report.operations:
            _leave_artifact(report)


def _leave_artifact(report: RunReport) -> None:
    try:
        create_markdown_artifact(report.markdown(), key="resilience-report", description=report.headline(), _sync=True)  # type: ignore[call-arg]
    except Exception:
        logging.getLogger("resilient_tasks").exception("the run report could not be left as a Prefect artifact")
