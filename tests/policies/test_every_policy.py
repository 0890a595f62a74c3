"""What holds for every policy: its arguments and defaults, what a pipeline asks it, and functions that it refuses."""

import contextlib
import inspect
import math
from math import inf
from types import SimpleNamespace

import pytest
from pydantic import BaseModel
from tenacity import stop_after_attempt

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    Chaos,
    CircuitBreaker,
    Deadline,
    Fallback,
    Hedge,
    LastGood,
    PolicyError,
    RateLimit,
    Retry,
    RetryBudget,
    SingleFlight,
    Timeout,
    Validate,
    resilient,
)
from resilient_tasks.core.bounds import Bound
from resilient_tasks.policies import hedge


class Row(BaseModel):
    number: int


POLICIES = [
    (Retry, "Retry(on=None, on_result=None, attempts=3, wait=None, stop=None, budget=None)"),
    (lambda: RetryBudget("x"), "RetryBudget(name='x', share=0.1, floor=10, per=5.0)"),
    (lambda: Timeout(5), "Timeout(seconds=5.0, enforce='auto')"),
    (lambda: Deadline(5), "Deadline(seconds=5.0)"),
    (
        lambda: CircuitBreaker("x"),
        (
            "CircuitBreaker(name='x', failures=None, failure_rate=0.5, window=60.0, min_calls=10, open_for=30.0,"
            " probes=1, slow=None, slow_rate=0.5, last=None, open_at_most=120.0, on=None, enforce=True)"
        ),
    ),
    (lambda: Fallback(value=1), "Fallback(use=None, value=1, on=None, timeout=None)"),
    (lambda: Fallback(int), "Fallback(use=<class 'int'>, value=<none given>, on=None, timeout=None)"),
    (lambda: Bulkhead("x", 2), "Bulkhead(name='x', limit=2, queue=0, enforce=True)"),
    (lambda: RateLimit("x", 5, 1), "RateLimit(name='x', calls=5, per=1.0, burst=None, wait=True, enforce=True)"),
    (
        lambda: AdaptiveRateLimit("x"),
        (
            "AdaptiveRateLimit(name='x', start=10, per=1.0, least=None, most=None, increase=None, decrease=0.7,"
            " on=None, wait=True, enforce=True)"
        ),
    ),
    (lambda: Hedge(after=1), "Hedge(after=1.0, attempts=2)"),
    (lambda: Chaos(fault=OSError), "Chaos(rate=1.0, fault=<class 'OSError'>, latency=None, outcome=None, seed=0)"),
    (
        SingleFlight,
        "SingleFlight(key=None, copy=False, shared=False, serializer='json', largest=1000000)",
    ),
    (  # the folder and its options may hold credentials
        lambda: LastGood("1 day", folder="memory://user:secret@host/x", options={"key": "secret"}),
        "LastGood(max_age=86400.0, on=None, otherwise=None, serializer=None, key=None, name=None, keep=1000)",
    ),
    (
        lambda: Validate(output=Row),
        (
            "Validate(input=None, output=<class 'test_every_policy.Row'>, on_invalid='raise', on_schema_error='raise',"
            " max_invalid=None, min_rows=None, quarantine=None, batch=None, drift=None)"
        ),
    ),
]


#: The arguments that may be given without their names.
BY_PLACE = {
    Retry: "",
    RetryBudget: "name",
    Timeout: "seconds enforce",
    Deadline: "seconds",
    CircuitBreaker: "name",
    Bulkhead: "name limit",
    RateLimit: "name calls per",
    AdaptiveRateLimit: "name start per",
    Fallback: "use",
    Hedge: "after",
    Chaos: "rate",
    SingleFlight: "key",
    LastGood: "max_age",
    Validate: "",
}


@pytest.mark.parametrize(("make", "shown"), POLICIES, ids=[shown.partition("(")[0] for _, shown in POLICIES])
def test_a_policy_has_these_arguments_and_defaults(make, shown):
    policy = make()
    assert repr(policy).replace(f"{__name__}.", "test_every_policy.") == shown
    parameters = inspect.signature(type(policy)).parameters.values()
    assert [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY] == BY_PLACE[type(policy)].split()
    assert {each.name for each in parameters if each.name.startswith("_")} <= {"_within", "_subject"}


def stand_in(x):
    return x


def items(x):
    yield x


async def async_items(x):
    yield x


#: A policy; the letters of what is true of it: it repeats, spends, holds, needs an idempotent function, or only reacts;
#: whether it reads the arguments (None: it does not say); its most attempts; its limit of a first attempt; the seconds
#: that it allows for a generator and an async generator (None: it refuses those); its worst case: attempts, seconds.
ASKED = [
    (lambda: Retry(attempts=4), "r---o", False, 4, None, (None, None), (4, 3.5)),
    (lambda: Retry(wait=lambda _: 1), "r---o", True, 3, None, (None, None), (3, inf)),
    (lambda: Retry(budget=RetryBudget("x")), "r----", True, 3, None, (None, None), (3, 1.5)),
    (lambda: Retry(on_result=lambda _: False), "r----", False, 3, None, (None, None), (3, 1.5)),
    (lambda: Retry(stop=stop_after_attempt(2), attempts=None), "r----", True, 0, None, (None, None), (2, 0.5)),
    (lambda: Timeout(5), "-----", None, 1, 5.0, (5.0, 5.0), (1, 0.0)),
    (lambda: Deadline(5), "-----", None, 1, 5.0, (5.0, 5.0), (1, 0.0)),
    (lambda: CircuitBreaker("x"), "-----", False, 1, None, (None, None), (1, 0.0)),
    (lambda: CircuitBreaker(lambda x: x), "-----", True, 1, None, (None, None), (1, 0.0)),
    (lambda: Fallback(value=1), "----o", False, 1, None, (inf, None), (1, 0.0)),
    (lambda: Fallback(stand_in), "----o", True, 1, None, (inf, None), (1, inf)),
    (lambda: Fallback(stand_in, timeout=3), "----o", True, 1, None, (inf, None), (1, 3.0)),
    (lambda: Bulkhead("x", 2), "--h--", False, 1, None, (None, None), (1, 0.0)),
    (lambda: Bulkhead(lambda x: x, 2, queue=1), "--h--", True, 1, None, (None, None), (1, inf)),
    (lambda: RateLimit("x", 5, 1), "-s---", False, 1, None, (None, None), (1, inf)),
    (lambda: RateLimit(lambda x: x, 5, 1, wait=4), "-s---", True, 1, None, (None, None), (1, 4.0)),
    (lambda: RateLimit("x", 5, 1, wait=False), "-s---", False, 1, None, (None, None), (1, 0.0)),
    (lambda: AdaptiveRateLimit("x"), "-s---", None, 1, None, (None, None), (1, inf)),
    (lambda: AdaptiveRateLimit(lambda x: x, wait=4), "-s---", None, 1, None, (None, None), (1, 4.001)),
    (lambda: AdaptiveRateLimit("x", wait=False), "-s---", None, 1, None, (None, None), (1, 0.0)),
    (lambda: Hedge(after=1, attempts=3), "r--i-", None, 3, None, (None, None), (3, 2.0)),
    (lambda: Chaos(fault=OSError), "-----", None, 1, None, (None, None), (1, 0.0)),
    (lambda: Chaos(latency=3), "-----", None, 1, None, (None, None), (1, 3.0)),
    (lambda: Chaos(0.0, latency=3), "-----", None, 1, None, (None, None), (1, 0.0)),
    (SingleFlight, "-----", None, 1, None, (None, None), (1, inf)),
    (lambda: SingleFlight().within(9), "-----", None, 1, None, (None, None), (1, 9.0)),
    (lambda: LastGood("1 day"), "-----", None, 1, None, (None, None), (1, 0.0)),
    (lambda: LastGood(otherwise=stand_in), "-----", None, 1, None, (None, None), (1, inf)),
    (lambda: LastGood(otherwise=Fallback(stand_in, timeout=3)), "-----", None, 1, None, (None, None), (1, 3.0)),
    (lambda: Validate(output=Row), "-----", None, 1, None, (None, None), (1, 0.0)),
]


@pytest.mark.parametrize(("make", "traits", "reads", "attempts", "limit", "streams", "worst"), ASKED)
def test_a_pipeline_knows_what_a_policy_does(make, traits, reads, attempts, limit, streams, worst):  # noqa: PLR0917
    policy = make()
    names = ("repeats", "spends", "holds", "needs_idempotent", "reacts_only")
    has = "".join(letter if getattr(policy, name, False) else "-" for letter, name in zip("rshio", names, strict=True))
    assert has == traits
    assert getattr(policy, "heeds_arguments", None) is reads
    assert (policy.most_attempts, getattr(policy, "first_limit", None)) == (attempts, limit)
    assert (policy.limit_of_stream(items), policy.limit_of_stream(async_items)) == streams
    bound = policy.longest(Bound())
    assert (bound.attempts, bound.total.seconds) == worst


@pytest.mark.parametrize(("make", "streams"), [(make, streams) for make, *_, streams, _ in ASKED])
def test_a_policy_refuses_functions_that_it_would_not_cover(make, streams):
    for function, seconds in ((items, streams[0]), (async_items, streams[1])):
        with contextlib.nullcontext() if seconds else pytest.raises(PolicyError, match="is a generator function"):
            make().check(function)
    with pytest.raises(PolicyError, match="is a context manager"):
        make().check(contextlib.contextmanager(items))


@pytest.mark.parametrize(
    "policy",
    [
        CircuitBreaker,
        lambda key: Bulkhead(key, 1),
        lambda key: RateLimit(key, 1, 1),
        AdaptiveRateLimit,
        lambda key: Retry(budget=RetryBudget(key)),
    ],
    ids=["breaker", "bulkhead", "rate limit", "adaptive rate limit", "budget"],
)
def test_a_key_function_of_other_arguments_is_refused_at_decoration(policy):
    resilient(policies=[policy(lambda x: x)])(stand_in)
    with pytest.raises(PolicyError, match="names url"):
        resilient(policies=[policy(lambda url: url)])(stand_in)


@pytest.mark.parametrize(
    ("make", "least", "refused"),
    [
        (lambda number: CircuitBreaker("x", failures=number), 1, 0),
        (lambda number: CircuitBreaker("x", min_calls=number), 1, 0),
        (lambda number: CircuitBreaker("x", probes=number), 1, 0),
        (lambda number: CircuitBreaker("x", min_calls=1, last=number), 1, 0),
        (lambda number: CircuitBreaker("x", last=number), 10, 9),
        (lambda number: CircuitBreaker("x", failures=3, last=number), 1, 0),
        (lambda number: CircuitBreaker("x", failures=3, slow=1, last=number), 10, 9),
        (lambda number: CircuitBreaker("x", failure_rate=number), 0, -0.1),
        (lambda number: CircuitBreaker("x", slow_rate=number), 1, 1.1),
        (lambda number: Bulkhead("x", number), 1, 0),
        (lambda number: Bulkhead("x", 1, queue=number), 0, -1),
        (lambda number: RateLimit("x", number, 1), 1, 0),
        (lambda number: RateLimit("x", number, 1), 1000, 1001),
        (lambda number: RateLimit("x", 1, 1, burst=number), 1, 0),
        (lambda number: Retry(attempts=number), 1, 0),
        (lambda number: Retry(wait=number), 0, -0.1),
        (lambda number: RetryBudget("x", share=number), 0, -0.1),
        (lambda number: RetryBudget("x", floor=number), 0, -1),
        (lambda number: Hedge(after=1, attempts=number), 2, 1),
        (lambda number: Chaos(number, fault=OSError), 0.0, -0.1),
        (lambda number: Chaos(number, fault=OSError), 1.0, 1.1),
        (lambda number: SingleFlight(shared=True, largest=number), 1, 0),
        (lambda number: LastGood(keep=number), 1, 0),
        (lambda number: Validate(output=Row, min_rows=number), 0, -1),
        (lambda number: Validate(output=Row, on_invalid="drop", max_invalid=number), 0, -1),
        (lambda number: Validate(output=Row, on_invalid="drop", max_invalid=number), 1.0, 1.1),
    ],
)
def test_the_last_number_that_makes_sense_is_accepted(make, least, refused):
    make(least)
    for wrong in (refused, "many"):
        with pytest.raises(PolicyError):
            make(wrong)


def test_the_input_of_a_function_without_a_signature_cannot_be_validated():
    class Opaque:
        __signature__ = 3

        def __call__(self, rows):
            return rows

    with pytest.raises(PolicyError, match="has no signature: decorate a def that calls it"):
        resilient(validate=Validate(input=Row))(Opaque())


@pytest.mark.parametrize(
    ("turns", "number", "left", "begun"),
    [
        ([math.inf], 1, 5.0, 1),  # it waits for its permits
        ([98.0], 1, 3.0, 1),
        ([95.5], 1, 0.5, 1),
        ([95.0], 1, 0.0, 2),
        ([90.0, 99.0], 1, -5.0, 2),
        ([90.0, 99.0], 2, 4.0, 2),
        ([90.0, 94.0], 2, -1.0, 3),
    ],
)
def test_an_attempt_is_hedged_once_it_is_slow_since_it_got_its_permits(monkeypatch, turns, number, left, begun):
    monkeypatch.setattr(hedge, "real_time", SimpleNamespace(monotonic=lambda: 100.0))
    beside = [SimpleNamespace(turn=turn) for turn in turns]
    call = SimpleNamespace(in_parallel=lambda: SimpleNamespace(turn=math.inf))
    assert Hedge(after=5, attempts=9)._time_left(call, beside, number) == left
    assert len(beside) == begun
