"""Prefect's own retries, timeouts and cancellation, under `@task` and under `@resilient_task`: the same."""

import asyncio
import contextvars
import threading
import time

import anyio
from prefect import flow
from prefect.context import TaskRunContext
from prefect.states import Completed, Failed
from prefect.task_engine import run_task_async, run_task_sync
from prefect.utilities.engine import get_state_for_result

variable = contextvars.ContextVar("variable", default="before")


def test_prefects_own_retries_work_unchanged(same_as_prefect, history):
    """Policies other than `retry=` do not affect them; a condition beside `fallback=` is refused."""

    def scenario(task):
        seen = []

        def condition(task, run, state):
            seen.append(("condition", run.run_count, state.name, state.message))
            return "stop" not in state.message

        options = {
            "retries": 2,
            "retry_condition_fn": condition,
            "on_running": [lambda _task, _run, state: seen.append(state.name)],
            "on_failure": [lambda _task, _run, state: seen.append(state.message)],
        }

        @task(**options, retry_delay_seconds=[0, 0.01])
        def flaky(good, word):
            if TaskRunContext.get().task_run.run_count < good:
                raise ValueError(word)
            return TaskRunContext.get().task_run.run_count

        @task(**options)
        async def later(good, word):
            if TaskRunContext.get().task_run.run_count < good:
                return Failed(message=word, data=ValueError(word))
            return TaskRunContext.get().task_run.run_count

        @flow
        def around():
            return Completed(
                data=[
                    flaky(3, "go on"),
                    flaky(9, "go on", return_state=True).message,
                    flaky.submit(2, "go on").result(),
                    flaky(9, "stop", return_state=True).message,
                    later.submit(3, "go on").result(),
                    later.submit(9, "go on", return_state=True).message,
                ]
            )

        state = around(return_state=True)
        run, states = history(state).of("flaky")
        return state.data.result, seen, run.run_count, [each.name for each in states]

    same_as_prefect(scenario, without=("retry", "fallback"))


def test_prefects_own_timeout_ends_a_task_unchanged(same_as_prefect):
    def scenario(task):
        @task(timeout_seconds=0.2)
        def hangs():
            time.sleep(5)

        @task(timeout_seconds=0.2)
        async def hangs_later():
            await asyncio.sleep(5)

        @flow
        async def around():
            states = [hangs(return_state=True), await hangs_later(return_state=True)]
            return Completed(data=[(state.name, state.message, repr(state.data)) for state in states])

        return asyncio.run(around(return_state=True)).data.result

    same_as_prefect(scenario)


def test_cancelling_from_outside_is_never_swallowed(same_as_prefect):
    def scenario(task):
        ended = []

        @task
        async def hangs():
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        @flow
        async def around():
            try:
                await asyncio.wait_for(hangs(), 0.2)
            except TimeoutError:
                ended.append("timed out")
            with anyio.move_on_after(0.2):
                await hangs()
                ended.append("never")
            running = asyncio.create_task(hangs())
            await asyncio.sleep(0.2)
            running.cancel()
            return Completed(data=[repr(*await asyncio.gather(running, return_exceptions=True))])

        return asyncio.run(around(return_state=True)).data.result, ended

    started = time.monotonic()
    assert same_as_prefect(scenario)[1].count("cancelled") == 3
    assert time.monotonic() - started < 25


def test_the_engines_own_functions_run_it(same_as_prefect):
    def scenario(task):
        @task
        def double(x):
            return x * 2

        @task
        async def later(x):
            return x * 3

        @flow
        async def around():
            return Completed(
                data=[
                    run_task_sync(double, parameters={"x": 2}),
                    run_task_sync(double, parameters={"x": 2}, return_type="state").name,
                    await run_task_async(later, parameters={"x": 2}),
                ]
            )

        return asyncio.run(around(return_state=True)).data.result

    assert same_as_prefect(scenario) == [4, "Completed", 6]


def test_a_task_has_the_same_side_effects(same_as_prefect):
    """Context variables, the link from a result to its state, and subflows and tasks of tasks, in every thread."""

    def scenario(task):
        @task
        def sets():
            variable.set("set")
            return {"a": "result"}

        @task
        def inner(x):
            return x + 1

        @flow
        def subflow(x):
            return inner(x) + inner.submit(x).result()

        @task
        def nests(x):
            return subflow(x), inner(x), inner.submit(x).result(), threading.current_thread() is threading.main_thread()

        @flow
        def around():
            token = variable.set("before")
            result = sets()
            state, run_type = get_state_for_result(result)
            seen = [variable.get(), state.name, run_type.value, nests(1), nests.submit(2).result()]
            variable.reset(token)
            return Completed(data=seen)

        return around(return_state=True).data.result

    same_as_prefect(scenario)


def test_results_that_cannot_be_stored_fail_the_same(same_as_prefect):
    def scenario(task):
        @task(persist_result=True)
        def gives():
            return threading.Lock()

        @task(persist_result=False)
        def keeps():
            return threading.Lock()

        @flow
        def around():
            states = [gives(return_state=True), keeps(return_state=True), gives.submit(return_state=True)]
            return Completed(data=[(state.name, str(state.message).partition(" at 0x")[0]) for state in states])

        return around(return_state=True).data.result

    same_as_prefect(scenario)
