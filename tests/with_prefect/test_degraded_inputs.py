"""Where a result that came from a fallback or from a quarantined batch flows into later tasks, their states say so."""

import asyncio
import datetime as dt
from decimal import Decimal
from uuid import uuid4

import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect import flow, task, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from resilient_tasks import Fallback, LastGood, Retry, Validate, outcome_of, resilient_flow, resilient_task
from resilient_tasks.core.events import InputDegraded
from resilient_tasks.core.outcome import Degraded, Ok
from resilient_tasks.prefect import inputs, marks
from resilient_tasks.testing import RecordedEvents

#: What is read back from the server, or needs what the API in memory does not know, runs on a server.
ON_A_SERVER = pytest.mark.usefixtures("resilient_prefect")

STALE = "computed from degraded input: fetch (fallback yesterdays)"


def yesterdays(*_, **__):
    return ["yesterday's", "rows"]


@resilient_task(fallback=yesterdays)
def fetch(month="2013-07"):
    raise ConnectionError("refused")


@resilient_task
def fresh():
    return ["today's", "rows"]


@resilient_task
def bare(data, more=None):
    return [data, "used"]


@resilient_task(retry=2)
def with_policies(data, more=None):
    return [data, "used"]


LATER = pytest.mark.parametrize("later", [bare, with_policies], ids=["bare", "with policies"])


@pytest.fixture(autouse=True)
def in_memory(request):
    """Have the other tests run on the API in memory."""
    if "resilient_prefect" not in request.fixturenames:
        request.getfixturevalue("resilient_prefect_memory")


@pytest.fixture
def reported():
    """The events about degraded input."""
    with RecordedEvents.listening() as events:
        yield lambda: [event for event in events if isinstance(event, InputDegraded)]


def in_flow(work):
    """Run `work` in a plain flow, and return what it returns, states as they are."""
    found = []
    flow(lambda: found.append(work()))()
    return found[0]


def ended(future):
    """Return the final state of a submitted task."""
    future.wait()
    return future.state


def read(state):
    """Return the task run of `state` from the server, once it is stored there."""
    return marks._run_in(state, state.state_details.task_run_id)


class TestEachWayToPassAResult:
    @LATER
    def test_a_future_of_a_task_in_a_thread(self, later):
        state = in_flow(lambda: ended(later.submit(fetch.submit())))
        assert (state.name, state.message) == ("Completed", STALE)

    @LATER
    def test_the_result_itself(self, later):
        state = in_flow(lambda: later(fetch(), return_state=True))
        assert (state.name, state.message) == ("Completed", STALE)

    @LATER
    def test_a_state(self, later):
        state = in_flow(lambda: later(fetch(return_state=True), return_state=True))
        assert state.message == STALE

    @LATER
    def test_deep_inside_an_argument(self, later):
        state = in_flow(lambda: later({"months": [{"july": fetch.submit()}]}, return_state=True))
        assert state.message == STALE

    def test_a_part_of_the_result(self):
        frames = {"train": pd.DataFrame({"n": [1]}), "test": pd.DataFrame({"n": [2]})}
        split = fetch.with_options(fallback=Fallback(value=frames))
        state = in_flow(lambda: bare(split()["test"], return_state=True))
        assert state.message == "computed from degraded input: fetch (fallback a fixed value)"

    @LATER
    def test_mapped_over_some_of_which_are_degraded(self, later):
        def months():
            futures = [fresh.submit(), fetch.submit(), fresh.submit()]
            return [ended(each).message or "" for each in later.map(data=futures)]

        assert in_flow(months) == ["", STALE, ""]

    def test_mapped_over_the_parts_of_one(self):
        whole = in_flow(lambda: [ended(each).message for each in bare.map(data=fetch.submit())])
        assert whole == [STALE, STALE]

    def test_an_unmapped_argument(self):
        found = in_flow(lambda: [ended(each).message for each in bare.map(data=[1, 2], more=unmapped(fetch.submit()))])
        assert found == [STALE, STALE]

    @LATER
    def test_awaited(self, later):
        async def own(data):
            return [data, "used"]

        stale = resilient_task(fallback=yesterdays)(_refused)
        options = {} if later is bare else {"retry": 2}
        later = resilient_task(**options)(own)

        @flow
        async def monthly():
            data = await stale()
            return (await later(data, return_state=True)).message, await later(data)

        message, data = asyncio.run(monthly())
        assert message == "computed from degraded input: _refused (fallback yesterdays)"
        assert data == [yesterdays(), "used"]

    def test_into_a_subflow(self):
        @resilient_flow
        def load(rows):
            return bare(rows, return_state=True).message, rows

        @resilient_flow
        def monthly():
            state = load(fetch(), return_state=True)
            return state.message, state.result()[0], bare(state.result()[1], return_state=True).message

        outer, inside, after = monthly()
        assert (outer, inside, after) == (f"1 call computed from degraded input; {STALE}", STALE, STALE)

    def test_outside_of_flows(self):
        assert bare(fetch(), return_state=True).message == STALE

    @ON_A_SERVER
    def test_a_short_text_or_a_number_as_a_future(self):
        for value in (True, 3, "n", 1.0, None):
            number = fetch.with_options(fallback=Fallback(value=value))
            state = in_flow(lambda number=number: ended(bare.submit(number.submit())))
            assert state.message == "computed from degraded input: fetch (fallback a fixed value)", value


async def _refused():
    raise ConnectionError("refused")


class TestNothingIsClaimedOf:
    @pytest.mark.parametrize(
        "value",
        [True, None, 3, 1000, 0.0, float("nan"), "n", "nothing", "", b"", (), Ok, dt.UTC],
        ids=repr,
    )
    def test_a_constant_that_is_the_same_object(self, value):
        constant = fetch.with_options(fallback=Fallback(value=value))

        def monthly():
            constant()
            return bare(value, return_state=True)

        assert not in_flow(monthly).message

    def test_a_key_of_the_result(self):
        keyed = fetch.with_options(fallback=Fallback(value={"a key": [1]}))

        def monthly():
            (key,) = keyed()
            return bare(key, return_state=True)

        assert not in_flow(monthly).message

    def test_another_object_at_the_address_of_a_deleted_one(self):
        run, other = fetch(return_state=True).state_details.task_run_id, [object()]
        gone = ["of a", "deleted list"]
        inputs.remember(run, (inputs.Origin("fetch", "a fallback"),), gone)
        known = inputs._objects.pop(id(gone))
        inputs._objects[id(other)] = known
        assert bare(other, return_state=True).message is None

    def test_what_was_only_waited_for(self):
        assert not in_flow(lambda: ended(bare.submit(1, wait_for=[fetch.submit()]))).message

    def test_data_of_a_run_that_succeeded(self):
        assert not in_flow(lambda: [fetch(), bare(fresh(), return_state=True)])[1].message

    def test_a_task_called_inside_one_that_was_given_it(self):
        @resilient_task
        def outer(data):
            return bare("n/a", return_state=True).message

        assert not in_flow(lambda: outer(fetch()))


@pytest.mark.parametrize("value", ["last month's", 0.25, Decimal("1.5"), [1], {"n": 1}, {1}, ("a b",)], ids=repr)
def test_a_direct_result_of_a_plain_type_is_recognized(value):
    plain = fetch.with_options(fallback=Fallback(value=value))
    assert in_flow(lambda: bare(plain(), return_state=True)).message.startswith("computed from degraded input: fetch")


def test_a_list_that_was_changed_is_still_recognized():
    def monthly():
        rows = fetch()
        rows.append("one more")
        return bare(rows, return_state=True)

    assert in_flow(monthly).message == STALE


def test_it_goes_on_from_task_to_task(reported):
    def monthly():
        first = bare.submit(fetch.submit())
        second = with_policies.submit(first)
        return [ended(each).message for each in (first, second, bare.submit([second]))]

    assert in_flow(monthly) == [STALE] * 3
    assert [(event.operation, event.source) for event in reported()] == [
        ("bare", "fetch"),
        ("with_policies", "fetch"),
        ("bare", "fetch"),
    ]


def test_the_age_of_a_last_good_result_is_given(resilient_clock, tmp_path, reported):
    answers = [["july"]]

    @resilient_task(fallback=LastGood(folder=tmp_path, key=lambda: "july"))
    def rows():
        if not answers:
            raise ConnectionError("refused")
        return answers.pop()

    def monthly():
        return bare(rows(), return_state=True)

    assert not in_flow(monthly).message
    assert in_flow(monthly).message == "computed from degraded input: rows (fallback last good result, 0 s old)"
    (event,) = reported()
    assert event.age is not None
    assert event.as_dict()["fallback.age_s"] == event.age


def test_one_event_a_task_run_however_many_attempts_and_inputs(reported):
    tries = []

    @resilient_task(retries=1)
    def twice(first, second):
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("refused")

    other = fetch.with_options(name="planes", fallback=Fallback(value=["none"]))
    state = in_flow(lambda: twice(fetch(), [other.submit(), fetch.submit()], return_state=True))
    assert state.message.startswith(STALE)
    (event,) = reported()
    assert (event.operation, event.source, len(tries)) == ("twice", "fetch", 2)
    assert event.run["task_run_id"] == str(state.state_details.task_run_id)


@ON_A_SERVER
class TestTheStateOfThatTask:
    def test_keeps_its_name_and_has_a_tag_that_the_list_filters_by(self):
        state = in_flow(lambda: bare.with_options(tags=["nightly"])(fetch(), return_state=True))
        run = read(state)
        assert (run.state.name, run.tags) == ("Completed", ["degraded-input", "nightly"])

    def test_is_degraded_with_both_reasons_if_it_used_its_own_fallback(self):
        state = in_flow(lambda: fetch(fetch(), return_state=True))
        assert state.name == "Degraded"
        assert state.message == f"degraded: yesterdays stands in after ConnectionError; {STALE}"
        assert sorted(read(state).tags) == ["degraded", "degraded-input"]

    def test_says_that_it_recovered_too(self):
        tries = []

        @resilient_task(retry=Retry(attempts=2, wait=0))
        def later(data):
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError("refused")

        state = in_flow(lambda: later(fetch(), return_state=True))
        assert state.message == f"recovered on attempt 2 of 2 (ConnectionError); {STALE}"

    @LATER
    def test_is_not_renamed_if_the_function_returned_it(self, later):
        own = later.with_options()
        own.fn = lambda data: Completed(name="Mine", message="my own", data=data)
        state = in_flow(lambda: own(fetch(), return_state=True))
        assert (state.name, state.message) == ("Mine", "my own")
        assert read(state).tags == ["degraded-input"]

    def test_is_that_of_a_failure_if_it_failed(self):
        @resilient_task
        def fails(data):
            raise ValueError(data)

        state = in_flow(lambda: fails(fetch(), return_state=True))
        assert state.name == "Failed"

    @LATER
    def test_is_hidden_from_the_caller_who_gets_the_data(self, later):
        assert in_flow(lambda: later(fetch())) == [yesterdays(), "used"]
        assert in_flow(lambda: later.submit(fetch.submit()).result()) == [yesterdays(), "used"]

    def test_counts_as_success(self):
        outcome = in_flow(lambda: outcome_of(with_policies.submit(fetch.submit())))
        assert isinstance(outcome, Ok)
        assert outcome.value == [yesterdays(), "used"]

    def test_returned_by_another_task_is_handed_on_as_a_state(self):
        @resilient_task
        def outer():
            return bare(fetch(), return_state=True)

        state = in_flow(outer)
        assert (state.message, state.result()) == (STALE, [yesterdays(), "used"])


class TestQuarantinedRows:
    @pytest.fixture
    def good(self, tmp_path):
        schema = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})

        @resilient_task(validate=Validate(output=schema, on_invalid="quarantine", quarantine=str(tmp_path)))
        def good():
            return pd.DataFrame({"n": [1, 2, -3]})

        return good

    @ON_A_SERVER
    def test_are_counted_in_the_message_and_tagged(self, good):
        state = in_flow(lambda: good(return_state=True))
        assert state.name == "Completed"
        assert state.message.startswith("1 of 3 rows quarantined (n: greater_than(0)) in ")
        assert read(state).tags == ["quarantined"]

    def test_leave_a_batch_that_is_a_degraded_input(self, good):
        state = in_flow(lambda: bare(good(), return_state=True))
        assert state.message == "computed from degraded input: good (1 of 3 rows quarantined)"

    def test_leave_a_direct_call_its_frame(self, good):
        assert len(in_flow(good.fn)) == 3
        assert len(in_flow(good)) == 2

    def test_none_leave_the_state_as_it_is(self, tmp_path):
        schema = pa.DataFrameSchema({"n": pa.Column(int)})
        fine = resilient_task(validate=Validate(output=schema, on_invalid="quarantine", quarantine=str(tmp_path)))(
            lambda: pd.DataFrame({"n": [1]})
        )
        state = in_flow(lambda: fine(return_state=True))
        assert not state.message
        assert not in_flow(lambda: bare(fine(), return_state=True)).message


@ON_A_SERVER
class TestPlainFlows:
    def tags_of(self, state):
        with get_client(sync_client=True) as client:
            return client.read_flow_run(state.state_details.flow_run_id).tags

    def test_are_tagged_if_a_task_in_them_was_degraded(self):
        @flow
        def plain():
            fetch()

        state = plain(return_state=True)
        assert (state.name, self.tags_of(state)) == ("Completed", ["degraded"])

    def test_are_tagged_in_async_code_and_by_tasks_in_threads(self):
        stale = resilient_task(fallback=yesterdays)(_refused)

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
        async def plain():
            await stale()
            return [future.result() for future in [fetch.submit() for _ in range(4)]]

        state = asyncio.run(plain(return_state=True))
        assert self.tags_of(state) == ["degraded"]

    def test_are_tagged_with_those_around_them(self):
        states = []

        @flow
        def inner():
            fetch()

        @resilient_flow
        def middle():
            states.append(inner(return_state=True))

        @flow
        def outer():
            states.append(middle(return_state=True))
            bare(1)

        states.append(outer(return_state=True))
        assert [self.tags_of(state) for state in states] == [["degraded"]] * 3
        assert [state.name for state in states] == ["Completed", "Degraded", "Completed"]
        assert states[1].message == "1 flow run inside was degraded: inner"

    def test_are_not_tagged_if_their_tasks_recovered(self):
        state = flow(lambda: bare(fresh()))(return_state=True)
        assert self.tags_of(state) == []


@ON_A_SERVER
def test_a_task_around_a_degraded_one_says_so():
    @resilient_task(timeout=60)
    def around():
        return sum(map(len, fetch()))

    state = in_flow(lambda: around(return_state=True))
    assert (state.name, state.message) == ("Completed", "a call inside it was degraded")
    assert read(state).tags == ["degraded"]
    assert in_flow(lambda: ended(bare.submit(around.submit()))).message == (
        "computed from degraded input: around (a call inside it was degraded)"
    )


def test_what_another_process_learned_arrives_with_the_state():
    import cloudpickle

    state = fetch(return_state=True)
    inputs._degraded.clear()
    assert inputs.any_known() is False
    cloudpickle.loads(cloudpickle.dumps(state))
    assert inputs.any_known()
    assert isinstance(outcome_of_degraded(state), Degraded)


def outcome_of_degraded(state):
    from resilient_tasks.prefect.states import outcome_of_state

    return outcome_of_state(state)


@ON_A_SERVER
def test_a_run_is_found_by_the_filter_for_tags():
    state = in_flow(lambda: bare(fetch(), return_state=True))
    read(state)
    with get_client(sync_client=True) as client:
        wanted = TaskRunFilter(
            tags={"all_": ["degraded-input"]}, id=TaskRunFilterId(any_=[state.state_details.task_run_id])
        )
        assert [run.id for run in client.read_task_runs(task_run_filter=wanted)] == [state.state_details.task_run_id]


@LATER
def test_a_result_made_from_a_stand_in_is_kept_out_of_the_cache(later):
    key = uuid4().hex
    cached = later.with_options(cache_key_fn=lambda *_: key, persist_result=True)
    names = [in_flow(lambda data=data: cached(data(), return_state=True)).name for data in (fetch, fresh, fetch)]
    assert names == ["Completed", "Completed", "Cached"]


def test_a_task_of_prefects_own_is_left_alone():
    own = task(lambda data: data)
    assert not in_flow(lambda: own(fetch(), return_state=True)).message


@resilient_task
def node(number, given):
    return [number, *map(len, given)]


@resilient_task(fallback=lambda number, given: [-number])
def failing_node(number, given):
    raise ConnectionError("refused")


@st.composite
def graphs(draw):
    """Nodes in order: whether each fails, and the earlier nodes that it is given, as a future, a state or a result."""
    ways = st.sampled_from(["future", "state", "result"])
    return [
        (
            draw(st.booleans()) if number < 3 else False,
            draw(st.dictionaries(st.integers(0, number - 1), ways, max_size=2)),
        )
        for number in range(1, draw(st.integers(2, 7)))
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_exactly_the_tasks_below_a_degraded_one_say_so(graph):
    def run():
        futures, states = [bare.submit("n/a")], []
        for number, (fails, parents) in enumerate(graph, start=1):
            take = {"future": lambda at: futures[at], "state": lambda at: ended(futures[at])}
            take["result"] = lambda at: futures[at].result()
            data = [take[way](at) for at, way in parents.items()]
            futures.append((failing_node if fails else node).submit(number, data))
        states = [ended(future) for future in futures]
        return ["degraded input" in (state.message or "") for state in states[1:]]

    expected, degraded = [], {0: False}
    for number, (fails, parents) in enumerate(graph, start=1):
        below = any(degraded[at] for at in parents)
        expected.append(below)
        degraded[number] = below or fails
    assert in_flow(run) == expected
