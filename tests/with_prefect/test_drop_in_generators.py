"""Generator tasks, under `@task` and under policies that do not run them twice."""

import asyncio
import threading
import time

import pytest
from prefect import flow
from prefect.states import Completed

from resilient_tasks import Console, DeadlineExceeded, Fallback, PolicyError, Timeout, configure, resilient_task
from resilient_tasks import resilient as resilient_function
from resilient_tasks.core.call import remaining

REPEATING = ("retry",)


def test_items_stream_and_the_return_value_is_the_result(same_as_prefect):  # noqa: C901  # one flow run shows all of it
    def scenario(task):
        order = []

        @task
        def numbers(upto, bad=None):
            """Count."""
            try:
                for number in range(upto):
                    if number == bad:
                        raise ValueError("bad")
                    order.append(f"gives {number}")
                    yield number
            finally:
                order.append("closed")
            return "all given"

        @task
        def double(x):
            return x * 2

        @flow
        def around():
            seen = []
            for number in numbers(3):
                order.append(f"takes {number}")
                seen.append(double(number))
            first = next(iter(numbers(5)))
            source = numbers(2)
            try:
                while True:
                    next(source)
            except StopIteration as end:
                seen.append(end.value)
            try:
                seen.extend(numbers(3, bad=1))
            except ValueError as error:
                seen.append(str(error))
            future = numbers.submit(3)
            return Completed(data=[seen, first, future.result(), numbers.isgenerator, numbers.isasync])

        state = around(return_state=True)
        return state.result(), order, list(numbers.fn(2))

    same_as_prefect(scenario, without=REPEATING)


def test_async_items_stream(same_as_prefect):
    def scenario(task):
        order = []

        @task
        async def numbers(upto, bad=None):
            for number in range(upto):
                await asyncio.sleep(0)
                if number == bad:
                    raise ValueError("bad")
                order.append(f"gives {number}")
                yield number

        @flow
        async def around():
            seen = []
            async for number in numbers(3):
                order.append(f"takes {number}")
                seen.append(number)
            try:
                async for number in numbers(3, bad=1):
                    seen.append(number)
            except ValueError as error:
                seen.append(str(error))
            return Completed(data=[seen, numbers.isgenerator, numbers.isasync])

        return asyncio.run(around(return_state=True)).result(), order

    same_as_prefect(scenario, without=(*REPEATING, "fallback"))


@pytest.mark.parametrize("policies", [{"retry": 2}, {"timeout": Timeout(5, enforce="cooperative")}])
@pytest.mark.parametrize("decorator", [resilient_task, resilient_function])
def test_policies_that_repeat_it_or_cover_only_its_creation_are_refused(policies, decorator):
    def numbers():
        yield 1

    async def later():
        yield 1

    for fn in (numbers, later):
        with pytest.raises(PolicyError, match="is a generator function"):
            decorator(**policies)(fn)
    with pytest.raises(PolicyError, match="is a generator function"):
        decorator(fallback=Fallback(value=[]))(later)
    with pytest.raises(PolicyError, match="is a generator function"):
        resilient_task(deadline=5)(numbers).with_options(retry=2)


def consumed(source):
    """Return the items of `source`, and how it ended."""
    items = []
    try:
        while True:
            items.append(next(source))
    except StopIteration as end:
        return items, end.value
    except Exception as error:
        return items, type(error)


@pytest.mark.parametrize("policies", [{"timeout": 0.2}, {"deadline": 0.2}])
def test_a_limit_covers_all_items_together(policies):
    entered = []

    @resilient_function(**policies)
    def numbers(nap):
        try:
            for number in range(50):
                entered.append(remaining())
                time.sleep(nap)
                yield number
        finally:
            entered.append("closed")

    started = time.monotonic()
    # In the main thread the wait for an item is cut ...
    assert consumed(numbers(30)) == ([], DeadlineExceeded)
    assert time.monotonic() - started < 5
    assert 0 < entered[0] <= 0.2
    # ... in another one the item that is late is still handed on, and is the last.
    found = []
    thread = threading.Thread(target=lambda: found.append(consumed(numbers(0.3))))
    thread.start()
    thread.join()
    assert found == [([0], DeadlineExceeded)]
    assert entered[-1] == "closed"


def test_waiting_for_an_async_item_is_cut():
    closed = []

    @resilient_function(timeout=0.2)
    async def numbers():
        try:
            yield 1
            await asyncio.sleep(30)
            yield 2
        finally:
            closed.append(True)

    async def consume():
        items = []
        try:
            async for item in numbers():
                items.append(item)
        except DeadlineExceeded:
            items.append("cut")
        return items

    assert asyncio.run(consume()) == [1, "cut"]
    assert closed


def test_a_failure_is_reported_and_a_fallback_answers_only_before_the_first_item(resilient_events):
    @resilient_function(fallback=lambda bad: [f"instead of {bad}"], notify=Console())
    def numbers(bad):
        for number in range(3):
            if number == bad:
                raise ConnectionError("down")
            yield number

    assert consumed(numbers(0)) == (["instead of 0"], None)
    assert consumed(numbers(2)) == ([0, 1], ConnectionError)
    assert consumed(numbers(9)) == ([0, 1, 2], None)
    assert resilient_events.names.count("fallback.used") == 1
    assert resilient_events.names.count("call.failed") == 1


def test_a_generator_whose_fallback_stood_in_ends_as_degraded(history):
    @resilient_task(fallback=lambda: ["stand-in"])
    def numbers():
        raise ConnectionError("down")
        yield 1

    @flow
    def around():
        return list(numbers())

    state = around(return_state=True)
    assert state.result() == ["stand-in"]
    assert [each.name for each in history(state).of("numbers")[1]] == ["Pending", "Running", "Degraded"]


def test_a_generator_inherits_the_deadline_of_the_call_around_it():
    @resilient_function(deadline=60)
    def numbers():
        yield remaining()

    @resilient_function(deadline=5)
    def around():
        return next(numbers())

    assert around() <= 5
    assert 5 < next(numbers()) <= 60


def test_switched_off_a_generator_runs_bare():
    @resilient_function(fallback=lambda: ["stand-in"])
    def numbers():
        yield 1
        raise ConnectionError("bare")

    @resilient_function(deadline=60)
    async def later():
        yield remaining()

    async def first():
        return await anext(later())

    configure(enabled=False)
    try:
        assert consumed(numbers()) == ([1], ConnectionError)
        assert asyncio.run(first()) == float("inf")
    finally:
        configure(enabled=True)
    assert asyncio.run(first()) <= 60
