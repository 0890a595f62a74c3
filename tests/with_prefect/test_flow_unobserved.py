"""A submitted task failed unobserved: Prefect completes such a flow, a resilient flow fails."""

import asyncio
import gc
import time
import weakref

import pytest
from prefect import allow_failure, flow, task
from prefect.futures import PrefectWrappedFuture
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from resilient_tasks import (
    Retry,
    UnobservedFailure,
    outcome_of,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.prefect import futures, undocumented

pytestmark = pytest.mark.usefixtures("resilient_prefect")


@task
def fetch(page=1):
    raise ConnectionError(f"page {page} refused")


@task
def train(frame):
    return frame


@task
def good(x=1):
    return x


def test_a_run_with_unobserved_failures_fails_and_names_them():
    def report():
        fetch.submit(1)
        good.submit(2)
        train.submit(fetch.submit(3))
        return "done"

    assert flow(report)() == "done"
    state = resilient_flow(report)(return_state=True)
    assert state.type.value == "FAILED"
    assert "UnobservedFailure: 2 task runs failed unobserved: fetch-" in state.message
    first, second = names_in(state)
    assert first.startswith("fetch-")
    assert first.endswith(" (ConnectionError)")
    assert second.startswith("train-")
    assert second.endswith(" (NotReady)")
    with pytest.raises(UnobservedFailure, match="Ask each future for its result"):
        state.result()


def names_in(state):
    return state.message.partition("unobserved: ")[2].partition(". ")[0].split(", ")


@pytest.mark.parametrize("sort", ["sync", "async"])
def test_reading_a_future_observes_its_failure(sort):
    def report():
        with pytest.raises(ConnectionError):
            fetch.submit(1).result()
        assert isinstance(fetch.submit(2).result(raise_on_failure=False), ConnectionError)
        fetch.submit(3, return_state=True)
        outcome_of(fetch.submit(4))
        (waited := fetch.submit(5)).wait()
        assert waited.state.is_failed()
        with pytest.raises(ConnectionError):
            fetch.map([6, 7]).result()
        assert good.submit(allow_failure(fetch.submit(8))).result()
        # Its end was not observed, but the task after it counts.
        assert train.submit(1, wait_for=[fetch.submit(9)], return_state=True).name == "NotReady"
        return "done"

    async def later():
        return report()

    run = resilient_flow(name="observed")(later if sort == "async" else report)
    result = run()
    assert (asyncio.run(result) if sort == "async" else result) == "done"


def test_prefect_handles_returned_futures():
    state = resilient_flow(lambda: [fetch.submit(), good.submit()])(return_state=True)
    assert state.message == "1/2 states failed."


def test_reading_too_early_or_only_waiting_does_not_observe():
    @resilient_flow
    def report():
        future = fetch.submit()
        future.wait()
        slow = fetch.with_options(retries=1, retry_delay_seconds=0.5, name="slow").submit()
        with pytest.raises(TimeoutError):
            slow.result(timeout=0.01)
        assert not slow.state.is_final()

    names = names_in(report(return_state=True))
    assert [name.partition("-")[0] for name in names] == ["fetch", "slow"]


def test_a_run_may_also_complete_with_a_warning_or_as_in_prefect():
    def report():
        fetch.submit().wait()

    state = resilient_flow(on_unobserved="warn")(report)(return_state=True)
    assert state.is_completed()
    assert state.message.startswith("1 task run failed unobserved: fetch-")
    state = resilient_flow(on_unobserved="ignore")(report)(return_state=True)
    assert (state.name, state.message) == ("Completed", None)


def test_the_run_waits_for_submitted_tasks_before_its_end():
    done = []

    @task
    def slow(x):
        time.sleep(0.1)
        done.append(x)

    def report():
        for x in range(3):
            slow.submit(x)

    resilient_flow(task_runner=ThreadPoolTaskRunner(max_workers=1))(report)()
    assert done == [0, 1, 2]


def test_unobserved_futures_of_a_failed_task_attempt_do_not_count():
    calls = []

    @resilient_task(retry=Retry(attempts=2, wait=0))
    def pages():
        calls.append(1)
        if len(calls) == 1:
            fetch.submit().wait()
            raise ConnectionError("before it looked")
        return "all"

    @task
    def unobservant():
        fetch.submit().wait()

    def report():
        unobservant()

    assert resilient_flow(lambda: pages.submit().result())() == "all"
    assert names_in(resilient_flow(report)(return_state=True))[0].startswith("fetch-")


def test_unobserved_futures_of_a_failed_flow_attempt_do_not_count():
    calls = []

    @resilient_flow(retry=Retry(on=UnobservedFailure, attempts=2, wait=0))
    def report():
        calls.append(1)
        if len(calls) == 1:
            fetch.submit()
        return "done"

    state = report(return_state=True)
    assert state.result() == "done"
    assert state.message == "recovered on attempt 2 of 2 (UnobservedFailure)"


def test_tracking_futures_keeps_no_results_in_memory():
    class Frame: ...

    kept = []

    @task(cache_result_in_memory=False, persist_result=False)
    def produce():
        kept.append(weakref.ref(frame := Frame()))
        return frame

    def is_released():
        produce.submit().wait()
        until = time.monotonic() + 2
        while kept[-1]() is not None and time.monotonic() < until:
            gc.collect()
        return kept[-1]() is None

    releases = flow(is_released)() and flow(is_released)()  # a thread that starts now, as for logs, may keep a result
    assert resilient_flow(is_released)() or not releases


def test_tasks_in_other_processes_are_tracked_and_counted_by_their_states():
    @resilient_flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def report():
        degraded.submit()
        return flaky.submit().result()

    @resilient_task(fallback=lambda: "stand-in")
    def degraded():
        raise ConnectionError("refused")

    @resilient_task(retry=Retry(attempts=2, wait=0))
    def flaky():
        flaky_calls.append(1)
        if len(flaky_calls) == 1:
            raise ConnectionError("refused")
        return len(flaky_calls)

    flaky_calls = []
    state = report(return_state=True)
    assert state.message == "1 call recovered, 1 degraded"
    assert state.result() == 2


class _Remote:
    """A handle for a remote result, like those of clusters."""

    def __init__(self, future):
        self._future = future

    def get(self):
        return self._future.result()


class _ReadsItself(PrefectWrappedFuture):
    """A future that reads its result through its own public `wrapped_future`, like Ray's."""

    def wait(self, timeout=None):
        self._final_state = self.wrapped_future.get()

    def result(self, timeout=None, raise_on_failure=True):  # noqa: FBT002  # as Prefect's own
        self.wait()
        return self._final_state.result(raise_on_failure=raise_on_failure)


class _Cluster(ThreadPoolTaskRunner):
    def submit(self, *args, **kwargs):
        future = super().submit(*args, **kwargs)
        return _ReadsItself(future.task_run_id, _Remote(future.wrapped_future))


@pytest.mark.parametrize("look", [True, False])
def test_a_future_that_waits_by_its_own_handle_is_tracked(look):
    @resilient_flow(task_runner=_Cluster())
    def report():
        future = stands_in.submit()
        assert not look or future.result() == "yesterday's"

    state = report(return_state=True)
    assert state.name == "Degraded"
    assert state.message == "1 call degraded"


@resilient_task(fallback=lambda: "yesterday's")
def stands_in():
    raise ConnectionError


def test_a_future_of_an_unknown_class_is_not_tracked(monkeypatch, caplog):
    """A change in Prefect may switch off tracking, but never fails the run."""
    monkeypatch.setattr(undocumented, "_warned", set())
    monkeypatch.setattr(futures, "_tracked_class", lambda _: object)

    @resilient_flow
    def report():
        return good.submit(3).result()

    with caplog.at_level("WARNING", "resilient_tasks"):
        assert report() == 3
    assert undocumented.FUTURES in undocumented._warned


def test_without_its_own_task_runner_a_run_is_not_tracked(monkeypatch):
    monkeypatch.setattr(undocumented, "_warned", set())
    with futures.UnobservedFutures(lambda *_: None).tracking(None):
        assert undocumented._warned == {undocumented.TASK_RUNNER}
