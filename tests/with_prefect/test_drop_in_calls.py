"""The result of calling a task, under `@task` and under `@resilient_task`: the same."""

import asyncio
import contextlib
import functools
import threading
import traceback

import pytest
from prefect import flow, get_run_logger, runtime, tags
from prefect import task as prefects_task
from prefect.context import TaskRunContext
from prefect.exceptions import ParameterBindError, ReservedArgumentError
from prefect.states import Completed, State

from resilient_tasks import resilient_task


def raised(call, *args, **kwargs):
    """Return what `call` raises, as a user sees it."""
    try:
        return ("returned", call(*args, **kwargs))
    except Exception as error:
        return (type(error), str(error), getattr(error, "__notes__", []))


VALUES = [None, 0, "", [], {}, False, ValueError("a value"), "x" * 1_000_000, {"nested": [1, (2, 3)]}]


def test_a_call_returns_the_very_object_that_the_function_returned(same_as_prefect):
    lock = threading.Lock()

    def scenario(task):
        @task
        def give(x):
            return x

        @task
        async def give_later(x):
            return x

        @flow
        def sync():
            return [give(x) is x for x in [*VALUES, lock]]

        @flow
        async def later():
            return [await give_later(x) is x for x in [*VALUES, lock]]

        return sync(), asyncio.run(later()), give(5)

    assert same_as_prefect(scenario) == ([True] * 10, [True] * 10, 5)


def test_an_error_is_raised_as_it_is_with_the_users_frames(same_as_prefect):
    class OwnError(Exception):
        def __init__(self, code, detail):
            super().__init__(code)
            self.detail = detail

    the_one = OwnError(3, "full")

    def scenario(task):
        @task
        def fails():
            raise the_one from KeyError("cause")

        @task
        async def fails_later():
            raise the_one

        @flow
        async def around():
            caught = []
            for call in (fails, fails_later):
                try:
                    result = call()
                    await result
                except OwnError as error:
                    frames = list(traceback.walk_tb(error.__traceback__))
                    caught.append((error is the_one, error.detail, repr(error.__cause__), error.__context__ is None))
                    caught.append(frames[-1][0].f_code.co_name)
                    error.with_traceback(None)  # it is raised again, and would keep the frames of this time
            return Completed(data=caught)

        return asyncio.run(around(return_state=True)).data.result

    assert same_as_prefect(scenario)[1::2] == ["fails", "fails_later"]


@pytest.mark.parametrize("passing", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_base_exceptions_are_not_handled(same_as_prefect, passing):
    def scenario(task):
        @task
        def leaves():
            raise passing

        @task
        async def leaves_later():
            raise passing

        seen = []
        with contextlib.suppress(passing):
            leaves()
            seen.append("returned")
        return seen

    assert same_as_prefect(scenario) == []


def test_methods_of_each_kind(same_as_prefect):
    def scenario(task):
        class Feed:
            base = 10

            def __init__(self, own):
                self.own = own

            @task
            def method(self, x, y=1):
                return self.own + x + y

            @task
            @classmethod
            def of_class(cls, x):
                return cls.base + x

            @task
            @staticmethod
            def static(x):
                return x * 2

            @task
            async def later(self, x):
                return self.own * x

        class Other(Feed):
            base = 20

        @flow
        def around():
            one, two = Feed(1), Feed(2)
            return (
                [one.method(5), two.method(5, y=7)],
                [Feed.of_class(1), Other.of_class(1), one.of_class(1)],
                Feed.static(3),
                one.method.submit(5).result(),
                two.method.map([1, 2]).result(),
                asyncio.run(two.later(4)),
                (one.method.ismethod, Feed.of_class.isclassmethod, Feed.static.isstaticmethod),
            )

        return around()

    same_as_prefect(scenario)


def test_functions_of_other_kinds(same_as_prefect):  # noqa: C901  # one flow run shows all of it
    class Callable:
        def __call__(self, x, y=2):
            return x + y

    def keywords_only(fn):
        @functools.wraps(fn)
        def wrapper(**kwargs):
            return fn(**kwargs), "keywords"

        return wrapper

    def first_by_position(fn):
        @functools.wraps(fn)
        def wrapper(first, **kwargs):
            return fn(first, **kwargs), sorted(kwargs)

        return wrapper

    def any_arguments(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs), args, kwargs

        return wrapper

    def add(x, y=2, *more, z=3):
        return x, y, more, z

    def plain(x, y=2):
        return x, y

    def only(x, /, y, *, z=1):
        return x, y, z

    def scenario(task):
        @flow
        def around():
            return [
                task(Callable())(1),
                task(functools.partial(plain, 7))(y=1),
                task(functools.partial(any_arguments(plain), 7))(),
                task(lambda x: x)(3),
                task(keywords_only(plain))(1),
                task(keywords_only(plain))(1, y=5),
                task(first_by_position(plain))(1, 5),
                task(any_arguments(plain))(1),
                task(any_arguments(add))(1, 2, 3, z=5),
                task(add)(1, 2, 3, 4, z=5),
                task(only)(1, 2, z=3),
                [task(fn).name for fn in (Callable(), functools.partial(plain, 7), lambda x: x)],
            ]

        return around()

    same_as_prefect(scenario)


def test_wrong_arguments_are_the_same_error_and_no_run(same_as_prefect):
    def scenario(task):
        ran = []

        @task(on_running=[lambda *_: ran.append(1)])
        def fetch(month, page=1):
            return month, page

        def reserved(return_state):
            return return_state

        @flow
        def around():
            return [
                raised(fetch),
                raised(fetch, 1, 2, 3),
                raised(fetch, 1, size=2),
                raised(fetch, 1, month=2),
                raised(fetch.submit),
                raised(fetch.map, [1], size=2),
            ]

        with pytest.raises(ReservedArgumentError):
            task(reserved)
        return around(), ran

    found, ran = same_as_prefect(scenario)
    assert found[0][0] is ParameterBindError
    assert ran == []


def test_nested_tasks_and_flows(same_as_prefect):
    def scenario(task):
        @task
        def inner(x):
            return x + 1, TaskRunContext.get().task.name

        @flow(name="inner flow")
        def inner_flow(x):
            return inner(x)

        @task
        def outer(x):
            return inner(x), inner.submit(x).result(), inner_flow(x), TaskRunContext.get().task.name

        @task
        def failing():
            raise ValueError("inner")

        @task
        def catching():
            return raised(failing), inner(1, return_state=True).name

        @flow(name="outer flow")
        def around():
            return outer(1), catching()

        return around(), inner(2)

    same_as_prefect(scenario)


def test_the_runtime_context_and_names(same_as_prefect):
    def scenario(task):
        def named(parameters=None):
            return f"by function {sorted(parameters or runtime.task_run.parameters)}"

        @task(task_run_name="page {page} of {month}", tags=["own"])
        def fetch(month, page=2):
            run = TaskRunContext.get().task_run
            get_run_logger().info("hello")
            return (
                runtime.task_run.name,
                sorted(runtime.task_run.tags),
                runtime.task_run.parameters,
                runtime.task_run.run_count,
                runtime.task_run.task_name,
                (run.run_count, run.state.name, run.empirical_policy.retries, run.task_version),
                runtime.flow_run.flow_name,
            )

        @flow(name="around")
        def around():
            with tags("from outside"):
                named_by_function = fetch.with_options(task_run_name=named)
                return fetch("may"), fetch.submit("june").result(), named_by_function("july", 3)

        return around()

    same_as_prefect(scenario)


@pytest.mark.usefixtures("resilient_prefect")
def test_a_state_of_another_task_is_returned_as_a_state():
    @resilient_task(fallback=lambda: "stand-in")
    def degraded():
        raise ConnectionError("down")

    def hand_on():
        return degraded(return_state=True)

    @flow
    def around():
        return [decorate(hand_on)() for decorate in (prefects_task, resilient_task(deadline=60))]

    native, ours = around()
    assert isinstance(native, State)
    assert isinstance(ours, State)
    assert (native.name, ours.name) == ("Degraded", "Degraded")
