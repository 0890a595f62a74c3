"""The attempts of `retry=` beside those of Prefect's own retries."""

import pytest
from prefect import flow
from prefect import task as prefects_task
from prefect.runtime import task_run as running
from prefect.settings import PREFECT_TASK_DEFAULT_RETRIES, temporary_settings
from prefect.states import Completed, Failed

from resilient_tasks import Retry, resilient_task


@pytest.mark.usefixtures("resilient_clock")
def test_attempts_count_and_last_like_prefects_own(history, own):
    """The same history as native retries give, with and without a wait; and the reasons."""

    def failing_twice(decorate):
        calls = []

        def fetch():
            calls.append(running.run_count)
            if len(calls) < 3:
                raise ConnectionError("refused")
            return calls

        return decorate(own(fetch))

    def observed(made):
        @flow
        def around():
            made.submit().wait()

        state = around(return_state=True)
        run, states = history(state).of("fetch")
        times = [each.timestamp for each in states]
        assert sorted(set(times)) == times
        assert run.start_time == states[1].timestamp
        assert run.end_time == states[-1].timestamp
        assert run.total_run_time.total_seconds() >= 0
        return [(each.type.value, each.name) for each in states], run.run_count, run.state_name

    immediate = observed(failing_twice(prefects_task(retries=2)))
    assert observed(failing_twice(resilient_task(retry=Retry(attempts=3, wait=0)))) == immediate
    assert [name for _, name in immediate[0]] == ["Pending", "Running", "Retrying", "Retrying", "Completed"]
    waiting = observed(failing_twice(prefects_task(retries=2, retry_delay_seconds=0.01)))
    assert observed(failing_twice(resilient_task(retry=Retry(attempts=3, wait=0.01)))) == waiting


@pytest.mark.usefixtures("resilient_prefect", "resilient_clock")
def test_an_immediate_retry_has_its_reason():
    entered = []
    calls = []

    @resilient_task(
        retry=Retry(attempts=3, wait=0), on_running=[lambda _task, _run, state: entered.append(state.message)]
    )
    def fetch():
        calls.append(1)
        if len(calls) < 2:
            raise ConnectionError("refused")

    with temporary_settings({PREFECT_TASK_DEFAULT_RETRIES: 4}):
        fetch()
    assert entered == [None, "attempt 2 of 3, after ConnectionError"]


@pytest.mark.usefixtures("resilient_prefect")
def test_a_recovered_list_of_states_still_decides_the_final_state():
    """A list of states decides how the run ends: a message of ours would turn its failure into a success."""
    calls = []

    @resilient_task(retry=Retry(attempts=2, wait=0))
    def states():
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("once")
        return [Completed(data=1), Failed(message="one of two")]

    state = states(return_state=True)
    assert (state.type.value, state.message) == ("FAILED", "1/2 states failed.")
