"""Programs read marks and never messages: a custom state is not the library's, and the wording may change."""

import cloudpickle
import pytest
from prefect import task
from prefect.client.schemas.objects import State, StateType
from prefect.states import Completed

from resilient_tasks import Degraded, Ok, Retry, outcome_of, resilient_flow, resilient_task
from resilient_tasks.core.events import FallbackUsed, RetryRecovered
from resilient_tasks.prefect import marks, messages, states

pytestmark = pytest.mark.usefixtures("resilient_prefect")

DEGRADED = "degraded: last_good of 2026-11-26 14:03 UTC, 23 h old, stands in after HTTPStatusError (HTTP 503)"
RECOVERED = "recovered on attempt 3 of 3 (ConnectionError ×2)"
LIKE_OURS = pytest.mark.parametrize(
    ("name", "message"),
    [("Degraded", DEGRADED), ("Degraded", None), ("Recovered", RECOVERED), ("Completed", RECOVERED)],
)


def elsewhere(state):
    """Return the state as it arrives from another process."""
    return cloudpickle.loads(cloudpickle.dumps(state))


def on_the_server_run(state):
    """Return the task run from the server."""
    return marks._run_in(state, state.state_details.task_run_id)


def on_the_server(state):
    """Return the state as a future reads it from the server."""
    read = on_the_server_run(state).state
    assert (type(read), read.id) == (State, state.id)
    return read


PLACES = pytest.mark.parametrize(
    "place", [lambda state: state, elsewhere, on_the_server], ids=["here", "pickled", "server"]
)


@resilient_task(retry=Retry(attempts=3, wait=0))
def recovers(tries):
    tries.append(1)
    if len(tries) < 3:
        raise ConnectionError("refused")
    return "fetched"


@resilient_task(retry=Retry(attempts=2, wait=0), fallback=lambda tries: "last week's")
def degrades(tries):
    raise ConnectionError("refused")


class TestACustomState:
    @LIKE_OURS
    @PLACES
    @pytest.mark.parametrize(
        "decorate", [resilient_task(timeout=60), resilient_task, task], ids=["ours", "bare", "prefects"]
    )
    def test_has_no_mark_whatever_its_name(self, decorate, place, name, message):
        @decorate
        def own():
            return Completed(name=name, message=message, data=3)

        state = place(own(return_state=True))
        assert (state.name, state.message or None) == (name, message)
        match states.outcome_of_state(state):
            case Ok(attempts=1):
                pass
            case other:
                pytest.fail(f"it counts as {other}")
        assert messages.event_from_state(state) is None

    @LIKE_OURS
    def test_counts_for_nothing_in_its_flow(self, name, message):
        found = []

        @resilient_task(timeout=60)
        def own():
            return Completed(name=name, message=message, data=3)

        @resilient_flow
        def around():
            found.append(outcome_of(own.submit()))
            return 1

        state = around(return_state=True)
        assert [(type(one), one.value, one.attempts) for one in found] == [(Ok, 3, 1)]
        assert (state.name, state.message) == ("Completed", None)

    @PLACES
    def test_of_a_later_attempt_has_its_attempts(self, place):
        tries = []

        @resilient_task(retry=Retry(attempts=3, wait=0))
        def own():
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("refused")
            return Completed(name="Degraded", message="in my own words", data=3)

        state = place(own(return_state=True))
        assert (state.name, state.message) == ("Degraded", "in my own words")
        assert states.outcome_of_state(state).attempts == 3
        assert messages.event_from_state(state).attempt == 3


@pytest.fixture(params=["as it is", "other words"])
def wording(request, monkeypatch):
    """Run with the real messages and with changed ones."""
    if request.param == "other words":
        monkeypatch.setattr(FallbackUsed, "sentence", lambda event: "Ersatz")
        monkeypatch.setattr(RetryRecovered, "sentence", lambda event: "hat sich erholt")
        monkeypatch.setattr("resilient_tasks.core.events.event.label", lambda *_: "kaputt")


@pytest.mark.usefixtures("wording")
class TestWithOtherWording:
    @PLACES
    def test_a_recovered_run_has_its_attempts_and_event(self, place):
        state = place(recovers([], return_state=True))
        assert states.outcome_of_state(state).attempts == 3
        event = messages.event_from_state(state)
        assert (type(event), event.operation, event.attempt, event.attempts) == (RetryRecovered, "recovers", 3, 3)
        assert event.errors == {"ConnectionError": 2}
        assert event.run["task_run_id"] == str(state.state_details.task_run_id)

    @PLACES
    def test_a_degraded_run_has_its_event(self, place):
        state = place(degrades([], return_state=True))
        assert isinstance(states.outcome_of_state(state), Degraded)
        event = messages.event_from_state(state)
        assert (type(event), event.error_type, event.message) == (FallbackUsed, "ConnectionError", "refused")
        assert event.fallback.startswith("lambda")

    def test_a_flow_counts_the_same(self):
        @resilient_flow
        def around():
            recovers.submit([]).result()
            return degrades.submit([]).result()

        state = around(return_state=True)
        assert (state.name, state.message) == ("Degraded", "1 call recovered, 1 degraded")


def test_labels_of_another_state_are_ignored():
    run = on_the_server_run(state := degrades([], return_state=True))
    other = State(type=StateType.COMPLETED, name="Degraded", state_details=state.state_details)
    assert marks._mark_in(run, state).degraded
    assert marks._mark_in(run, other) == marks.Mark(attempts=2)


def test_unknown_fields_of_a_newer_versions_event_are_ignored():
    run = on_the_server_run(degrades([], return_state=True))
    written = run.labels[marks.EVENT]
    newer = written.replace('{"name"', '{"since_then": 3, "name"')
    assert newer != written
    assert marks._decode(newer, run) == marks._decode(written, run)


def test_without_a_server_a_run_counts_as_completed_on_the_first_attempt_with_a_warning(monkeypatch, caplog):
    def gone(*_, **__):
        raise ConnectionError("no server")

    state = on_the_server(recovers([], return_state=True))
    monkeypatch.setattr(marks, "get_client", gone)
    assert states.outcome_of_state(state).attempts == 1
    assert "could not read from the server how the task run" in caplog.text


def test_a_dict_that_looks_like_prefects_result_record_is_data():
    tries = []

    @resilient_task(retry=Retry(attempts=2, wait=0))
    def fetch():
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("refused")
        return {"storage_key": 7}

    assert fetch() == {"storage_key": 7}
