"""Composing policies: order, `explain`, pickling."""

import asyncio
import pickle
import subprocess
import sys

import cloudpickle
import pandera.pandas as pa
import pytest
import tenacity

from resilient_tasks import (
    Chaos,
    Console,
    Deadline,
    Failed,
    Fallback,
    Kind,
    Ok,
    Pipeline,
    Policy,
    PolicyError,
    Retry,
    Slack,
    Timeout,
    Validate,
    explain,
    resilient,
)
from resilient_tasks.alerts.policy import Notify
from resilient_tasks.core.pipeline import ORDER


class Named(Policy):
    """Records its name on the way in and out."""

    def __init__(self, name, seen, slot="custom"):
        self.name, self.seen = name, seen
        self.slot = slot

    async def around(self, call, proceed):
        self.seen.append(f"{self.name} in")
        outcome = await proceed(call)
        self.seen.append(f"{self.name} out")
        return outcome

    def __repr__(self):
        return self.name


def test_the_first_policy_of_a_pipeline_is_outermost(drive):
    seen = []
    drive(lambda: seen.append("fn"), policies=Pipeline(Named("a", seen), Named("b", seen)))()
    assert seen == ["a in", "b in", "fn", "b out", "a out"]


def test_a_decorator_sorts_policies_into_the_canonical_order(drive):
    seen = []
    shuffled = [Named(slot, seen, slot) for slot in sorted(ORDER)]
    drive(lambda: None, policies=shuffled)()
    assert seen[: len(ORDER)] == [f"{slot} in" for slot in ORDER]


def test_custom_policies_keep_their_relative_order(drive):
    seen = []
    drive(lambda: None, policies=[Named("z", seen), Named("a", seen)])()
    assert seen[:2] == ["z in", "a in"]


def test_a_pipeline_serves_a_function_without_a_decorator(flaky, resilient_clock):
    fetch = flaky(ConnectionError())
    pipeline = Pipeline(Retry(attempts=2, wait=1))
    assert pipeline.call(fetch, "value") == "value"
    assert pipeline.call(fetch, value="other") == "other"
    assert resilient_clock.waits == [1]


def test_a_pipeline_gives_an_outcome_instead_of_raising():
    pipeline = Pipeline(Retry(attempts=1))
    match pipeline.outcome(int, "x"):
        case Failed(error=ValueError()):
            pass
        case other:
            pytest.fail(f"unexpected {other!r}")
    assert pipeline.outcome(int, "7").value == 7


def test_a_pipeline_awaits_an_async_function(resilient_clock):
    attempts = []

    async def fetch(value):
        attempts.append(value)
        if len(attempts) < 2:
            raise ConnectionError
        return value

    pipeline = Pipeline(Retry(attempts=2, wait=1))
    assert asyncio.run(pipeline.call(fetch, 7)) == 7
    outcome = asyncio.run(_outcome(pipeline, fetch))
    assert isinstance(outcome, Ok)


async def _outcome(pipeline, fetch):
    return await pipeline.outcome(fetch, 8)


def test_only_policies_make_a_pipeline():
    for wrong in (5, "retry", Retry, lambda call: call):
        with pytest.raises(PolicyError, match="made of policies such as Retry"):
            Pipeline(wrong)


class Alike:
    """Has all members of a policy without deriving from `Policy`."""

    slot = "custom"
    repeats = needs_idempotent = reacts_only = False
    most_attempts = 1
    at_once, parts, limit_of_stream = Policy.at_once, Policy.parts, Policy.limit_of_stream
    check, describe = Policy.check, Policy.describe

    async def around(self, call, proceed):
        outcome = await proceed(call)
        return Ok(f"around {outcome.value}")


def test_an_object_with_all_members_of_a_policy_is_one(drive):
    assert drive(lambda: "fn", policies=[Alike()])() == "around fn"


def test_an_object_that_lacks_a_member_of_a_policy_is_none(monkeypatch):
    monkeypatch.delattr(Alike, "describe")
    with pytest.raises(PolicyError, match="made of policies such as Retry"):
        Pipeline(Alike())


def test_a_policy_without_a_place_in_the_order_is_refused():
    with pytest.raises(PolicyError, match=r"slot 'somewhere'; the slots are single flight"):
        Pipeline(Named("mine", [], "somewhere"))


def test_an_empty_pipeline_calls_the_function():
    assert Pipeline().call(max, 1, 2) == 2


def test_a_policy_that_raises_has_failed_the_call(drive, resilient_events):
    class Buggy(Policy):
        async def around(self, call, proceed):
            raise KeyError("policy")

    outcome = drive(lambda: None, policies=[Buggy()]).outcome()
    assert isinstance(outcome.error, KeyError)
    assert resilient_events.names == ["call.failed"]


def test_a_failed_call_is_reported_once_with_its_kind(drive, resilient_events):
    def fail():
        raise ConnectionError("refused")

    drive(fail, policies=Pipeline()).outcome()
    (event,) = resilient_events
    assert (event.name, event.operation, event.kind) == ("call.failed", "fail", "transient")
    assert (event.error_type, event.message) == ("ConnectionError", "refused")


class TestExplain:
    def test_it_lists_the_policies_outermost_first(self):
        decorated = resilient(
            timeout=2, retry=3, fallback=sorted, deadline=60, policies=[Chaos(fault=OSError)], idempotent=True
        )(max)
        assert explain(decorated).splitlines()[:6] == [
            "1. fallback: sorted",
            "2. deadline: 60 s for all attempts and waits",
            "3. retry: 3 attempts, transient, throttled and timed-out failures",
            "4. timeout: 2 s an attempt, enforce='auto'",
            "5. chaos: 100% of attempts, fault OSError, seed 0",
            "6. the function",
        ]

    def test_it_describes_each_policy(self):
        schema = pa.DataFrameSchema({})
        pipeline = Pipeline(
            Notify([Console(), Slack(channel="#ml")]),
            Fallback({Kind.TIMEOUT: sorted, OSError: max}),
            Fallback(value=7),
            Retry(attempts=None, stop=tenacity.stop_after_delay(9), on=OSError),
            Validate(input=schema, output=schema, on_invalid="drop"),
            Chaos(0.25, latency=2, outcome=sorted, seed=4),
        )
        text = explain(pipeline)
        for part in (
            "notify: console, slack:#ml",
            "fallback: sorted, max",
            "fallback: value 7",
            "retry: unlimited attempts, OSError",
            "validate input and output: on_invalid='drop'",
            "chaos: 25% of attempts, latency of 2 s and outcome sorted, seed 4",
        ):
            assert part in text

    @pytest.mark.parametrize(
        ("policies", "remark"),
        [
            ((Timeout(1), Retry()), "one timeout for all attempts"),
            ((Retry(), Deadline(9)), "every attempt gets the whole deadline again"),
            ((Retry(), Fallback(value=0)), "nothing is ever retried"),
            ((Deadline(9), Fallback(value=0)), "no time may be left for the fallback"),
            (
                (Chaos(fault=OSError), Timeout(1)),
                "chaos is outside timeout; the usual order is the reverse",
            ),
        ],
    )
    def test_it_remarks_on_an_unusual_order_and_its_cost(self, policies, remark):
        assert remark in explain(Pipeline(*policies)).remarks[0].sentence
        assert f"! {explain(Pipeline(*policies)).remarks[0].code}: " in explain(Pipeline(*policies))

    def test_the_usual_order_needs_no_remark(self):
        assert "!" not in explain(Pipeline(Fallback(value=0), Deadline(9), Retry(), Timeout(1)))

    def test_a_custom_policy_is_described_by_its_repr(self):
        assert explain(Pipeline(Named("mine", []))).startswith("1. mine\n")

    def test_anything_else_is_refused(self):
        with pytest.raises(TypeError, match="explain takes a Pipeline or a function"):
            explain(max)


def always(_):
    return True


POLICIES = [
    Retry(attempts=4, wait=tenacity.wait_exponential() + tenacity.wait_random(0, 1), stop=tenacity.stop_after_delay(5)),
    Retry(on=(Kind.TIMEOUT, KeyError, always), on_result=always, wait=lambda call: call.attempt),
    Timeout(2),
    Deadline(3),
    Fallback(value=None),
    Fallback(lambda: 7, on=always, timeout=1),
    Fallback({KeyError: max, Kind.TIMEOUT: min}),
    Validate(output=pa.DataFrameSchema({"n": pa.Column(int, pa.Check(lambda n: n > 0))}), on_invalid="quarantine"),
    Chaos(0.5, fault=KeyError("x")),
    Notify([Slack(webhook="https://example.org/x"), Console()]),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_every_policy_can_be_pickled_into_another_process(policy):
    copy = pickle.loads(cloudpickle.dumps(policy))
    assert type(copy) is type(policy)
    assert copy.describe().partition("<")[0] == policy.describe().partition("<")[0]


def test_a_value_of_none_is_still_a_value_after_pickling():
    copy = pickle.loads(pickle.dumps(Fallback(value=None)))
    assert Pipeline(copy).outcome(_unreachable).value is None
    with pytest.raises(PolicyError):
        pickle.loads(pickle.dumps(Fallback(max))).__class__()


def _unreachable():
    raise ConnectionError


def test_a_decorated_function_works_in_another_process(tmp_path, drive):
    attempts = []

    def fetch(value):
        attempts.append(value)
        if len(attempts) < 2:
            raise ConnectionError
        return value, len(attempts)

    decorated = drive(fetch, retry=Retry(attempts=2, wait=0), deadline=60).decorated
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        (tmp_path / "call.pkl").write_bytes(cloudpickle.dumps(decorated))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    program = (
        "import asyncio, inspect, pickle, sys\n"
        "from resilient_tasks import explain\n"
        "call = pickle.load(open(sys.argv[1], 'rb'))\n"
        "made = call('x')\n"
        "print(asyncio.run(made) if inspect.iscoroutine(made) else made)\n"
        "print(explain(call).splitlines()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "call.pkl")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines() == ["('x', 2)", "1. deadline: 60 s for all attempts and waits"], done.stderr


def test_a_decorated_function_without_limits_works_there_too():
    decorated = resilient(retry=2)(lambda n: 2 * n)
    copy = cloudpickle.loads(cloudpickle.dumps(decorated))
    assert copy(4) == 8
