"""The arguments of the policies: which may be given without their names, their defaults, and which are shown."""

import inspect

import pytest

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    Chaos,
    CircuitBreaker,
    Deadline,
    Fallback,
    Hedge,
    LastGood,
    RateLimit,
    Retry,
    RetryBudget,
    SingleFlight,
    Timeout,
    Validate,
)

SHOWN = [
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
]


@pytest.mark.parametrize(("make", "shown"), SHOWN, ids=[shown.partition("(")[0] for _, shown in SHOWN])
def test_a_policy_is_shown_with_its_arguments_and_their_defaults(make, shown):
    assert repr(make()) == shown


@pytest.mark.parametrize(
    ("policy", "by_place"),
    [
        *((Retry, ""), (RetryBudget, "name"), (Timeout, "seconds enforce"), (Deadline, "seconds")),
        *((CircuitBreaker, "name"), (Bulkhead, "name limit"), (RateLimit, "name calls per")),
        *((AdaptiveRateLimit, "name start per"), (Fallback, "use"), (Hedge, "after"), (Chaos, "rate")),
        *((SingleFlight, "key"), (LastGood, "max_age"), (Validate, "")),
    ],
)
def test_few_arguments_of_a_policy_may_be_given_without_their_names(policy, by_place):
    parameters = inspect.signature(policy).parameters.values()
    assert [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY] == by_place.split()
    assert not any(each.name in ("_rules", "_rate", "_limit", "_fails", "_refuses", "_key") for each in parameters)
