"""The simulated outage of `make outage`: its time is virtual, a seed gives one course, and policies spare the API."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from resilient_tasks.core.execution import clock


@pytest.fixture(scope="module")
def outage():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
        import outage

        return outage


@pytest.fixture(scope="module")
def short(outage):
    """A fifth of the callers, and a third of the time."""
    return outage.Scenario(callers=200, down=20, back=40, slow_for=20, end=100)


@pytest.fixture(scope="module")
def ours(outage, short):
    return outage.simulate(short, outage.strategies()[outage.OURS])


def test_an_hour_on_the_virtual_loop_passes_at_once(outage, short):
    async def wait():
        loop, times = asyncio.get_running_loop(), []
        for seconds in (3600, 0.5):
            await clock.asleep(seconds)
            times.append((loop.time(), clock.now()))
        return times

    began = time.monotonic()
    with outage.virtual_time(short) as runner:
        assert runner.run(wait()) == [(3600, 3600), (3600.5, 3600.5)]
    assert time.monotonic() - began < 60


def test_a_virtual_loop_on_which_nothing_can_happen_any_more_says_so(outage, short):
    async def wait():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer"), outage.virtual_time(short) as runner:
        runner.run(wait())


def test_a_seed_gives_one_course_and_another_seed_another(outage, short, ours):
    policies = outage.strategies()[outage.OURS]
    again = outage.simulate(short, policies)
    assert (again.arrived, again.done) == (ours.arrived, ours.done)
    other = outage.simulate(replace(short, seed=2), policies)
    assert other.arrived != ours.arrived


def test_no_policy_does_more_work_than_the_oracle(outage, short, ours):
    best = outage.best_possible(short)
    assert 0 < len(ours.done) <= len(best.done)
    assert len(best.arrived) == len(best.done)


def test_breaker_and_budget_spare_the_api_what_retries_alone_do_to_it(outage, short, ours):
    retry = outage.simulate(short, outage.strategies()["retry, fixed wait"])
    down = [outage.between(course.arrived, short.down, short.back) for course in (retry, ours)]
    assert retry.peak > 4
    assert ours.peak < 1.2
    assert down[1] < down[0] / 5
    assert ours.recovered is not None
