"""The states, hooks and log lines of a task run, under `@task` and under `@resilient_task`: the same."""

import asyncio
import contextlib
import functools
import logging

import pytest
from prefect import flow, get_run_logger
from prefect.exceptions import MissingContextError
from prefect.results import ResultRecord
from prefect.states import Cancelled, Completed, Crashed, Failed, State


def shown(result):
    """Return what a user sees of a state, or of anything else."""
    if not isinstance(result, State):
        return result
    data = result.data.result if isinstance(result.data, ResultRecord) else result.data
    return (type(result).__name__, result.type.value, result.name, result.message, _plain(data))


def _plain(data):
    """Return `data` in a form that is the same in each run."""
    if isinstance(data, list):
        return [_plain(part) for part in data]
    return shown(data) if isinstance(data, State) else repr(data).partition(" at 0x")[0]


def raised(call, *args, **kwargs):
    """Return what `call` raises, as a user sees it."""
    try:
        return ("returned", shown(call(*args, **kwargs)))
    except Exception as error:
        return (type(error), str(error), getattr(error, "__notes__", []))


RETURNED = [
    lambda: Completed(data=3, message="mine"),
    lambda: Completed(name="Skipped", message="nothing to do"),
    lambda: Completed(data=None),
    lambda: Failed(message="mine"),
    lambda: Failed(data=ValueError("inside"), message="mine", name="Rejected"),
    lambda: Failed(data="no exception"),
    lambda: Cancelled(message="mine"),
    lambda: Crashed(message="mine"),
    lambda: [Completed(data=1), Completed(data=2)],
    lambda: [Completed(data=1), Failed(data=ValueError("one"))],
    lambda: (number for number in (1, 2)),
]


def test_states_that_a_function_returns_are_unchanged(same_as_prefect):
    def scenario(task):
        @task
        def give(which):
            return RETURNED[which]()

        @task
        async def give_later(which):
            return RETURNED[which]()

        @flow
        def around():
            seen = []
            for which in range(len(RETURNED)):
                future = give.submit(which)
                future.wait()
                seen += [
                    shown(give(which)) if which < 8 else None,
                    shown(give(which, return_state=True)),
                    shown(future.state),
                    raised(future.result),
                ]
            return Completed(data=seen)

        @flow
        async def later():
            seen = [shown(await give_later(which, return_state=True)) for which in range(8)]
            return Completed(data=[*seen, [shown(await give_later(which)) for which in range(8)]])

        return [shown(state) for state in (around(return_state=True), asyncio.run(later(return_state=True)))]

    # A failed state is a failed attempt, for Prefect's own retries as well.
    same_as_prefect(scenario, without=("retry", "fallback"))


def test_failures_end_in_the_same_state(same_as_prefect):
    class OwnTimeoutError(TimeoutError):
        pass

    def scenario(task):
        @task
        def fails(error):
            raise error

        @task
        async def fails_later(error):
            raise error

        errors = [ValueError("v"), KeyError("k"), Exception(), ExceptionGroup("g", [ValueError(1)])]

        @flow
        def around():
            seen = []
            for error in errors:
                state = fails(error, return_state=True)
                seen += [shown(state), raised(fails, error), state.state_details.retriable]
                seen.append(shown(fails.submit(error, return_state=True)))
            return Completed(data=seen)

        @flow
        async def later():
            return Completed(data=[shown(await fails_later(error, return_state=True)) for error in errors])

        return shown(around(return_state=True)), shown(asyncio.run(later(return_state=True)))

    same_as_prefect(scenario)
    # A TimeoutError of the user's is a transient failure: it would be retried, and the fallback would stand in.
    only_limits = functools.partial(same_as_prefect, without=("retry", "fallback"))

    def timed_out(task):
        @task
        def fails():
            raise OwnTimeoutError("mine")

        @flow
        def around():
            return Completed(data=shown(fails(return_state=True)))

        return around()

    assert only_limits(timed_out)[2] == "TimedOut"


class Lines(logging.Handler):
    """Keeps the lines of a run's log, except the library's own events."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        if not record.pathname.endswith("prefect/runs.py"):
            # Intended: errors already logged with a traceback are repeated at INFO here, and at ERROR by Prefect.
            again = record.getMessage().startswith("Finished in state Failed")
            self.lines.append(("again" if again else record.levelname, record.getMessage()))


@contextlib.contextmanager
def logged():
    logger, handler = logging.getLogger("prefect.task_runs"), Lines()
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


def test_hooks_get_the_same_states_equally_often_and_log_the_same(same_as_prefect):  # noqa: C901  # one flow run shows all of it
    def scenario(task):  # noqa: C901  # as above
        seen = []

        def note(kind):
            def hook(task, run, state):
                seen.append((kind, task.name, state.name, state.type.value, run.run_count, run.state.name))

            hook.__name__ = kind
            return hook

        async def later(task, run, state):
            seen.append(("later", state.name))

        def broken(task, run, state):
            raise ValueError("in a hook")

        class ByInstance:
            def __call__(self, task, run, state):
                seen.append(("instance", state.name))

        options = {
            "on_running": [note("running"), later],
            "on_completion": [note("completion"), functools.partial(note("partial")), ByInstance(), later],
            "on_failure": [broken, note("failure"), later],
        }

        @task(**options)
        def works():
            return 1

        @task(**options)
        def fails():
            raise ValueError("no")

        @task(**options)
        async def fails_later():
            raise ValueError("no")

        @task
        def decorated():
            return Failed(data=ValueError("by hand"), message="by hand")

        @decorated.on_failure
        def at_failure(task, run, state):
            seen.append(("decorated", state.message))

        @decorated.on_completion
        def at_completion(task, run, state):
            seen.append("never")

        @flow
        def around():
            works()
            works.submit().wait()
            fails(return_state=True)
            decorated(return_state=True)
            decorated.with_options(name="copy")(return_state=True)
            return "ran"

        @flow
        async def asynchronous():
            await fails_later(return_state=True)
            return "ran"

        with logged() as lines:
            around()
            asyncio.run(asynchronous())
        with pytest.raises(TypeError):
            task(on_failure=print)(works.fn)
        with pytest.raises(TypeError):
            task(on_failure=[1])(works.fn)
        return seen, lines

    seen, lines = same_as_prefect(scenario)
    assert ("failure", "fails", "Failed", "FAILED", 1, "Failed") in seen
    assert any("Running hook" in line for _, line in lines)


def test_prints_and_log_lines_reach_the_run(same_as_prefect):
    def scenario(task):
        @task
        def prints():
            print("printed")  # noqa: T201
            get_run_logger().info("logged")
            return 1

        @flow(log_prints=True)
        def around():
            prints()
            prints.with_options(log_prints=False)()
            prints.submit().wait()
            return "ran"

        with logged() as lines:
            around()
        outside = []
        try:
            prints.fn()
        except MissingContextError as error:
            outside.append(str(error))
        return lines, outside

    lines, outside = same_as_prefect(scenario)
    assert lines.count(("INFO", "printed")) == 2
    assert outside


def test_a_visualised_flow_is_the_same_graph(same_as_prefect, monkeypatch):
    from prefect.utilities import visualization

    drawn = []
    monkeypatch.setattr(visualization, "visualize_task_dependencies", lambda graph, _name: drawn.append(graph.source))

    def scenario(task):
        drawn.clear()

        @task(viz_return_value=[1])
        def source():
            return [1]

        @task
        async def later(x):
            return x

        @task
        def sink(x):
            return x

        @flow(name="drawn")
        def around():
            made = source()
            sink(made)

        around.visualize()
        return list(drawn)

    pytest.importorskip("graphviz")
    assert "source" in same_as_prefect(scenario)[0]
