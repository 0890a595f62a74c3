"""Caching, persistence and transactions, under `@task` and under `@resilient_task`: the same."""

import asyncio
import datetime as dt
import uuid

import pytest
from prefect import flow
from prefect import task as prefects_task
from prefect.cache_policies import DEFAULT, INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE, CachePolicy
from prefect.states import Completed, Failed
from prefect.tasks import task_input_hash
from prefect.transactions import get_transaction, transaction

from resilient_tasks import Fallback, Retry, resilient_task


def four_calls(task, options, body=None):
    """Call one task four times in a flow; return the results, and how often its function ran."""
    calls, unique = [], uuid.uuid4().hex

    @task(**options)
    def fetch(x, salt=unique):
        calls.append(x)
        return body(x) if body else [x, len(calls)]

    states = [fetch(x, return_state=True) for x in (1, 1, 2)]
    states.append(fetch.submit(1, return_state=True))
    return [(state.name, _plain(state.data.result)) for state in states], len(calls)


def _plain(value):
    return repr(value) if isinstance(value, Exception) else value


def by_function(context, parameters):
    assert context.task.fn.__name__ == "fetch"
    return f"{parameters['x']}-{parameters['salt']}"


CACHED = [
    ({"cache_policy": INPUTS}, 2),
    ({"cache_policy": INPUTS + TASK_SOURCE}, 2),
    ({"cache_policy": INPUTS - "x"}, 1),
    ({"cache_policy": DEFAULT, "persist_result": True}, 2),
    ({"cache_policy": RUN_ID, "persist_result": True}, 1),
    ({"cache_policy": NO_CACHE, "persist_result": True}, 4),
    ({"cache_key_fn": by_function}, 2),
    ({"cache_key_fn": task_input_hash}, 2),
    ({"cache_policy": INPUTS, "refresh_cache": True}, 4),
    ({"cache_policy": INPUTS, "cache_expiration": dt.timedelta(seconds=-1)}, 4),
    ({"cache_policy": INPUTS, "persist_result": False}, 4),
    ({"cache_policy": INPUTS, "cache_result_in_memory": False, "result_serializer": "json"}, 2),
    ({"result_storage_key": "{parameters[salt]}-{parameters[x]}.json", "result_serializer": "json"}, 2),
    ({}, 4),
]


def test_cache_policies_work_the_same(same_as_prefect):
    def scenario(task):
        @flow
        def around():
            return Completed(data=[four_calls(task, options) for options, _ in CACHED])

        return around(return_state=True).data.result

    assert [calls for _, calls in same_as_prefect(scenario)] == [calls for _, calls in CACHED]


def test_failures_are_not_cached_and_a_custom_cache_policy_sees_the_task(same_as_prefect):
    seen = []

    class Own(CachePolicy):
        def compute_key(self, task_ctx, inputs, flow_parameters, **_):
            seen.append((task_ctx.task.name, task_ctx.task.fn(0), inputs["x"], flow_parameters))
            return f"{inputs['x']}-{inputs['salt']}"

    def fails(x):
        raise ValueError(x)

    def scenario(task):
        seen.clear()

        @flow
        def around():
            failed = four_calls(task, {"cache_policy": INPUTS}, fails)
            listed = four_calls(task, {"cache_policy": INPUTS}, lambda x: (number for number in range(x)))
            return Completed(data=[failed, listed, four_calls(task, {"cache_policy": Own()}, lambda x: x)])

        return around(return_state=True).data.result, list(seen)

    (failed, _, _), seen_there = same_as_prefect(scenario)
    assert failed[1] == 4
    assert seen_there[0] == ("fetch", 0, 1, {})


def source_of(text, tmp_path):
    """Return the task that a module with `text` in it defines."""
    path = tmp_path / f"m{uuid.uuid4().hex}.py"
    imports = (
        "from prefect import task\nfrom resilient_tasks import resilient_task, resilient\nas_it_is = lambda f: f\n\n"
    )
    path.write_text(imports + text)
    names = {"__name__": path.stem}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names["fetch"]


def test_changing_a_policy_keeps_a_cache_that_is_keyed_by_the_source(tmp_path):
    body = "def fetch(x):\n    return x  # as it is\n"
    plain = source_of("@task\n" + body, tmp_path)
    three = source_of("@resilient_task(retry=3)\n" + body, tmp_path)
    nine = source_of("@resilient_task(\n    retry=9,\n    deadline=5,\n)\n" + body, tmp_path)
    other = source_of("@resilient_task(retry=3)\n" + body.replace("return x", "return x + 1"), tmp_path)
    assert three.source_code == nine.source_code == nine.with_options(retry=4).source_code == body
    assert other.source_code != three.source_code
    # Without a policy it is Prefect's own, and another decorator belongs to what the function does.
    assert plain.source_code == "@task\n" + body
    stacked = source_of("@resilient_task(retry=3)\n@resilient(deadline=3)\n@as_it_is\n" + body, tmp_path)
    assert stacked.source_code == "@as_it_is\n" + body
    assert resilient_task(retry=3)(lambda x: x).source_code is not None
    assert resilient_task(retry=3)(source_of("fetch = eval('lambda x: x')", tmp_path)).source_code is None


@pytest.mark.usefixtures("resilient_prefect", "resilient_clock")
def test_a_recovered_result_is_cached_and_a_stand_in_is_not():
    calls, unique = [], uuid.uuid4().hex

    @resilient_task(
        retry=Retry(attempts=2, wait=1), fallback=Fallback(value="stale"), cache_policy=INPUTS, persist_result=True
    )
    def fetch(x):
        calls.append(x)
        if len(calls) < 4:
            raise ConnectionError("down")
        return "fresh"

    @flow
    def around():
        states = [fetch(unique, return_state=True) for _ in range(3)]
        return Completed(data=[(state.name, state.data.result) for state in states])

    assert around(return_state=True).data.result == [("Degraded", "stale"), ("Completed", "fresh"), ("Cached", "fresh")]
    assert len(calls) == 4


def test_results_are_stored_and_read_back_the_same(same_as_prefect, tmp_path):
    def scenario(task):
        unique = uuid.uuid4().hex
        numbers = []

        @task(persist_result=True, result_storage_key=f"{unique}-{{task_run.name}}")
        def fetch(x):
            return {"x": x}

        @task(persist_result=True)
        async def later(x):
            return {"x": x}

        @flow
        async def around():
            for state in (fetch(1, return_state=True), await later(2, return_state=True)):
                record = state.data
                numbers.append((type(record).__name__, type(record.metadata.serializer).__name__, record.result))
                numbers.append(record.metadata.storage_key.startswith(unique))
            return "ran"

        asyncio.run(around())
        return numbers

    same_as_prefect(scenario)


def test_transactions_commit_and_roll_back_the_same(same_as_prefect):  # noqa: C901  # one flow run shows all of it
    def scenario(task):
        order = []

        @task
        def write(name):
            get_transaction().set("name", name)
            order.append(f"wrote {name}")
            return name

        @write.on_rollback
        def undo(txn):
            order.append(f"undid {txn.get('name')}")

        @write.on_commit
        def note(txn):
            order.append(f"committed {txn.get('name')}")

        @task
        def fails():
            raise ValueError("later")

        @task
        def gives_failed():
            return Failed(data=ValueError("returned"))

        @task
        def inside():
            with transaction():
                write("inner")
                fails()

        @flow
        def around():
            with transaction() as txn:
                write("kept")
                order.append(txn.state.name)
            for failing in (fails, inside):
                try:
                    with transaction():
                        write("lost")
                        failing()
                except ValueError as error:
                    order.append(str(error))
            with transaction():
                write.submit("submitted").wait()
                gives_failed(return_state=True)
            return "ran"

        around()
        return order

    order = same_as_prefect(scenario, without=("fallback", "retry"))
    assert order[:3] == ["wrote kept", "ACTIVE", "committed kept"]
    assert "undid lost" in order


@pytest.mark.usefixtures("resilient_prefect", "resilient_clock")
def test_a_recovered_attempt_keeps_its_transaction_and_prefects_own_retry_loses_it():
    """Write, attempt 1 fails, attempt 2 succeeds: is the write still there?"""

    def run(decorate):
        written, calls = [], []

        @prefects_task
        def write():
            written.append("row")

        @write.on_rollback
        def undo(_txn):
            written.remove("row")

        @decorate
        def flaky():
            calls.append(1)
            if len(calls) == 1:
                raise ConnectionError("once")

        @flow
        def around():
            with transaction():
                write()
                flaky()
            return "ran"

        return around(), written

    assert run(resilient_task(retry=Retry(attempts=2, wait=1))) == ("ran", ["row"])
    assert run(prefects_task(retries=1)) == ("ran", [])


@pytest.mark.usefixtures("resilient_prefect")
def test_a_stand_in_commits_its_transaction_and_a_failure_rolls_it_back():
    def run(**policies):
        order = []

        @prefects_task
        def write():
            order.append("wrote")

        @write.on_rollback
        def undo(_txn):
            order.append("undid")

        @resilient_task(**policies)
        def fails():
            raise ConnectionError("down")

        @flow
        def around():
            with transaction():
                write()
                fails()
            return "ran"

        order.append(around(return_state=True).name)
        return order

    assert run(fallback=lambda: 1) == ["wrote", "Completed"]
    assert run(deadline=60) == ["wrote", "undid", "Failed"]
