"""Submitted and mapped tasks and what they depend on, under `@task` and under `@resilient_task`: the same."""

import asyncio

from prefect import allow_failure, flow, unmapped
from prefect.futures import as_completed, wait
from prefect.states import Completed
from prefect.utilities.annotations import quote


def raised(call, *args, **kwargs):
    """Return what `call` raises, as a user sees it."""
    try:
        return ("returned", call(*args, **kwargs))
    except Exception as error:
        return (type(error), str(error), getattr(error, "__notes__", []))


def test_submit_gives_a_future_with_result_and_state(same_as_prefect):
    def scenario(task):
        @task
        def double(x):
            return x * 2

        @task
        async def later(x):
            return x * 3

        @task
        def fails():
            raise ValueError("no")

        @flow
        def around():
            one, three, failed = double.submit(1), later.submit(1), fails.submit()
            wait([one, three, failed])
            state = double.submit(4, return_state=True)
            return Completed(
                data=[
                    (one.result(), one.state.name, type(one).__name__),
                    three.result(),
                    raised(failed.result),
                    repr(failed.result(raise_on_failure=False)),
                    (failed.state.name, failed.state.message),
                    (state.name, state.result()),
                    sorted(each.result() for each in as_completed([one, three])),
                ]
            )

        return around()

    same_as_prefect(scenario)


def test_map_with_unmapped_defaults_and_keywords(same_as_prefect):
    def scenario(task):
        @task
        def combine(x, y, z=3, **more):
            return x, y, z, more

        @task
        async def later(x):
            return x + 1

        @flow
        def around():
            return [
                combine.map([1, 2], unmapped([7, 8])).result(),
                combine.map([1, 2], y=5, z=[1, 2]).result(),
                combine.map([1], [2], extra=[9]).result(),
                later.map(combine.map([1, 2], 3, return_state=False)[0].result()[:1]).result(),
                [state.name for state in combine.map([1, 2], 3, return_state=True)],
                raised(combine.map, 1, 2),
                raised(combine.map, [1], [1, 2]),
                later.map(later.map([1, 2])).result(),
            ]

        return around()

    same_as_prefect(scenario)


def test_futures_and_states_as_arguments(same_as_prefect):
    def scenario(task):
        @task
        def one():
            return 1

        @task
        def fails():
            raise ValueError("upstream")

        @task
        def see(value):
            return value

        @flow
        def around():
            future, state, failed = one.submit(), one(return_state=True), fails.submit()
            failed.wait()
            refused = see.submit(failed)
            refused.wait()
            return Completed(
                data=[
                    see(future),
                    see(state),
                    see({"nested": [future, (state, 2)]}),
                    see.submit({"nested": [future]}).result(),
                    repr(see(allow_failure(failed))),
                    repr(see.submit(allow_failure(failed)).result()),
                    see(quote({"a": 1})),
                    (refused.state.name, refused.state.type.value),
                    raised(refused.result)[0],
                    raised(see, failed)[0],
                    see(failed, return_state=True).name,
                ]
            )

        return around()

    same_as_prefect(scenario)


def test_wait_for_orders_runs_and_passes_failures_on(same_as_prefect):
    def scenario(task):
        order = []

        @task
        def step(name):
            order.append(name)
            return name

        @task
        def fails():
            order.append("fails")
            raise ValueError("upstream")

        @flow
        def around():
            first = step.submit("first")
            second = step.submit("second", wait_for=[first])
            step("third", wait_for=[second])
            failed = fails.submit(wait_for=[second])
            not_run = step.submit("never", wait_for=[failed])
            allowed = step.submit("allowed", wait_for=[allow_failure(failed)])
            wait([not_run, allowed])
            blocked = step("never", wait_for=[failed], return_state=True)
            return Completed(data=[not_run.state.name, allowed.state.name, blocked.name])

        return around(), order

    assert same_as_prefect(scenario)[1] == ["first", "second", "third", "fails", "allowed"]


def test_the_graph_of_inputs_is_recorded(same_as_prefect, history):
    def scenario(task):
        @task
        def source():
            return [1, 2]

        @task(name="child")
        def child(data, other=None):
            return data

        @task(name="parent")
        def parent():
            return child.with_options(name="nested")([3])

        @flow
        def around():
            made = source()
            future = source.submit()
            child(made, other=future)
            parent()
            return "done"

        state = around(return_state=True)
        runs = {name: history(state).of(name)[0] for name in ("child", "nested")}
        return {
            name: {where: [each.input_type for each in inputs] for where, inputs in run.task_inputs.items()}
            for name, run in runs.items()
        }

    same_as_prefect(scenario)


def test_async_flows_gather_tasks(same_as_prefect):
    def scenario(task):
        @task
        async def double(x):
            await asyncio.sleep(0)
            return x * 2

        @task
        def plain(x):
            return x

        @flow
        async def around():
            gathered = await asyncio.gather(*[double(n) for n in range(4)])
            futures = double.map([5, 6])
            return gathered, [future.result() for future in futures], plain(3)

        return asyncio.run(around())

    same_as_prefect(scenario)
