"""A task as an object, under `@task` and under `@resilient_task`: the same."""

import copy
import inspect

import cloudpickle
import pytest
from prefect import runtime
from prefect.context import TaskRunContext


def raised(call, *args, **kwargs):
    """Return what `call` raises, as a user sees it."""
    try:
        return ("returned", call(*args, **kwargs))
    except Exception as error:
        return (type(error), str(error), getattr(error, "__notes__", []))


def test_the_function_itself_is_reached_by_fn_and_runs_bare(same_as_prefect):
    calls = []

    def fetch(x):
        calls.append(x)
        if len(calls) == 1:
            raise ConnectionError("down")
        return runtime.task_run.id

    def scenario(task):
        calls.clear()
        made = task(fetch)
        with pytest.raises(ConnectionError):
            made.fn(1)
        return made.fn is fetch, made.__wrapped__ is fetch, made.fn(2), len(calls)

    assert same_as_prefect(scenario) == (True, True, None, 2)


def test_inside_a_run_fn_is_the_function_too(same_as_prefect):
    def scenario(task):
        @task
        def power(n):
            context = TaskRunContext.get()
            own = context.task.fn is power.fn is power.__wrapped__
            return n * power.fn(n - 1)[0] if n else 1, own

        seen = []

        @task(on_completion=[lambda task, *_: seen.append(task.fn is power.fn)])
        def hooked():
            return power.fn(3)[0]

        return raised(power, 0), power(0), hooked(), seen

    same_as_prefect(scenario)


def test_attributes_signature_and_docstring(same_as_prefect):
    def scenario(task):
        @task
        def fetch(month: str, /, page: int = 1, *more: int, size: float, **rest: str) -> str:
            """Fetch a page."""

        @task(name="n", description="d", version="1", tags=["a"], task_run_name="r-{x}", log_prints=True)
        async def later(x):
            """Fetch later."""

        return [
            {
                **{
                    name: value
                    for name, value in vars(each).items()
                    if isinstance(value, str | int | float | bool | None | set) and name != "source_code"
                },
                "signature": str(inspect.signature(each)),
                "fn": str(inspect.signature(each.fn)),
                "module": each.__module__,
                "qualname": each.__qualname__,
                "doc": (inspect.getdoc(each), each.__doc__),
                "annotations": each.__annotations__,
                "options": (each.retries, each.retry_delay_seconds, each.timeout_seconds, each.persist_result),
                "policy": each.cache_policy,
            }
            for each in (fetch, later)
        ]

    same_as_prefect(scenario)


def test_copies_and_pickles_are_tasks_that_run(same_as_prefect):
    def scenario(task):
        @task(tags=["a"], on_completion=[print])
        def double(x):
            return x * 2

        copies = [copy.copy(double), copy.deepcopy(double), cloudpickle.loads(cloudpickle.dumps(double))]
        return [(each(4), each.name, each.task_key == double.task_key, each.tags, each.fn(5)) for each in copies]

    same_as_prefect(scenario)


def test_with_options_overrides_what_it_is_given_and_keeps_the_rest(same_as_prefect):
    def scenario(task):
        @task(name="a", tags=["x"], persist_result=False, log_prints=True, timeout_seconds=5)
        def fetch():
            """Fetch."""
            return TaskRunContext.get().task.name

        other = fetch.with_options(name="b", tags=["y"], timeout_seconds=7)
        same = fetch.with_options()
        untagged = fetch.with_options(tags=[])  # cleared by Prefect 3.9, kept by 3.8
        return [
            (each.name, each.tags, each.timeout_seconds, each.log_prints, each.description, each.task_key, each())
            for each in (fetch, other, same, untagged)
        ], (other.fn is fetch.fn, same.tags is fetch.tags, raised(fetch.with_options, unknown=1)[0])

    same_as_prefect(scenario)


def test_replacing_the_function_of_a_task_replaces_what_runs(same_as_prefect):
    def scenario(task):
        @task
        def fetch():
            return "real"

        fetch.fn = lambda: "stubbed"
        return fetch(), fetch.fn()

    assert same_as_prefect(scenario) == ("stubbed", "stubbed")
