"""What people type by mistake on their first day, and the sentence that says what to write instead."""

import asyncio
import copy
import functools
import inspect
import pickle
import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
import tenacity
from pydantic import BaseModel

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    Chaos,
    CircuitBreaker,
    Console,
    Deadline,
    Drift,
    Email,
    Fallback,
    Hedge,
    Kind,
    LastGood,
    Notify,
    Ok,
    Pipeline,
    PolicyError,
    Quarantine,
    RateLimit,
    Retry,
    RetryBudget,
    Route,
    SingleFlight,
    Slack,
    TimedOut,
    Timeout,
    Validate,
    Webhook,
    configure,
    register_kind,
    resilient,
)
from resilient_tasks.core.parameters.durations import seconds
from resilient_tasks.validation.drift import Limits


class Orders(BaseModel):
    number: int


def fetch(month):
    return month


def fetch_from(month, region="eu"):
    return month, region


async def afetch(month):
    return month


class Feed:
    @property
    def month(self):
        return "07"

    def fetch(self, month):
        return month


def refusal(call):
    """Return the message with which a call is refused."""
    with pytest.raises(PolicyError) as info:
        call()
    return str(info.value)


AMBIGUOUS = [
    (lambda: Retry(5, 2), "write Retry(attempts=5, wait=2)"),
    (lambda: Retry("3"), "write Retry(attempts=3)"),
    (lambda: Retry(ConnectionError), "write Retry(on=ConnectionError)"),
    (lambda: Retry([Kind.TIMEOUT, OSError], 4), "attempts=4"),
    (lambda: Retry(RetryBudget("api")), "budget="),
    (lambda: Validate(Orders), "write Validate(output=Orders)"),
    (lambda: Validate(Orders), "Validate(input={'orders': Orders}) for an argument"),
    (lambda: Validate(Orders, "drop"), "write Validate(output=Orders, on_invalid='drop')"),
    (lambda: CircuitBreaker("api", 5, 30), "write CircuitBreaker('api', failures=5, open_for=30)"),
    (lambda: RetryBudget("api", 0.1), "write RetryBudget('api', share=0.1)"),
    (lambda: Bulkhead("db", 4, 10), "write Bulkhead('db', 4, queue=10)"),
    (lambda: RateLimit("api", 10, 1, 5), "write RateLimit('api', 10, 1, burst=5)"),
    (lambda: SingleFlight(True), "write SingleFlight(shared=True)"),
    (lambda: SingleFlight(fetch, True), "write SingleFlight(fetch, copy=True)"),
    (lambda: Hedge(0.2, 3), "write Hedge(0.2, attempts=3)"),
    (lambda: Fallback(fetch, ConnectionError), "write Fallback(fetch, on=ConnectionError)"),
    (lambda: Chaos(0.5, ConnectionError), "write Chaos(0.5, fault=ConnectionError)"),
    (lambda: Notify(Console(), Console()), "write Notify(Console(), fallback=Console())"),
    (lambda: Route(Console(), "error"), "write Route(Console(), severity='error')"),
    (lambda: Slack("#ml-alerts"), "write Slack(channel='#ml-alerts')"),
    (lambda: Slack("https://hooks.slack.com/services/T/B/secret"), "write Slack(webhook=...)"),
    (lambda: Slack("xoxb-secret"), "write Slack(token=...)"),
    (lambda: Webhook("https://a.example/secret", "secret"), "write Webhook(..., secret=...)"),
    (lambda: Email("ops@example.org", "smtp.example.org", 587, "me"), "sender='me'"),
    (lambda: Drift(5, 0.2), "write Drift(5, psi=0.2)"),
    (lambda: Limits(0.3), "write Limits(psi=0.3)"),
    (lambda: Quarantine("bad", {}), "options={}"),
    (lambda: Deadline(1, 2), "takes 1 argument by position: write Deadline(120)"),
    (lambda: Console("x"), "write Console()"),
    (lambda: configure(False), "write configure(enabled=False)"),
    (lambda: Pipeline(retry=3), "as in Pipeline(Retry(attempts=3), Timeout(20))"),
]


@pytest.mark.parametrize(("call", "instead"), AMBIGUOUS)
def test_ambiguous_positional_arguments_are_refused_with_the_call_by_name(call, instead):
    sentence = refusal(call)
    assert instead in sentence
    assert "secret" not in sentence.replace("secret=...", "")


@pytest.mark.parametrize(
    "natural",
    [
        lambda: Timeout(20),
        lambda: Timeout(20, "process"),
        lambda: Deadline(120),
        lambda: CircuitBreaker("api"),
        lambda: Fallback(fetch),
        lambda: Bulkhead("db", 4),
        lambda: RateLimit("api", 10, 1),
        lambda: Hedge(0.2),
        lambda: Chaos(0.1, latency=1),
        lambda: RetryBudget("api"),
        lambda: Notify(Console()),
        lambda: Route(Console()),
        lambda: Webhook("https://a.example/hook"),
        lambda: Email("ops@example.org", "smtp.example.org"),
        lambda: Quarantine("bad"),
        lambda: Pipeline(Retry(), Timeout(1)),
    ],
)
def test_natural_positional_arguments_are_accepted(natural):
    natural()


@pytest.mark.parametrize(
    "policy", [Retry(attempts=4), Timeout("20s"), CircuitBreaker("api", failures=2), Validate(output=Orders)]
)
def test_a_policy_is_still_a_plain_value(policy):
    assert repr(pickle.loads(pickle.dumps(policy))) == repr(copy.copy(policy)) == repr(replace(policy)) == repr(policy)
    assert next(iter(inspect.signature(type(policy)).parameters)) != "args"


@pytest.mark.parametrize("policy", [Timeout, CircuitBreaker, Bulkhead, RateLimit, Hedge, Notify, Email, Webhook])
def test_missing_arguments_are_refused_with_an_example(policy):
    assert re.search(rf"missing a required argument: '\w+'; write {policy.__name__}\(", refusal(policy))


UNKNOWN = [
    (Retry, "max_attempts", "attempts="),
    (Retry, "atempts", "attempts="),
    (Retry, "tries", "attempts="),
    (Retry, "retries", "attempts=? The first attempt counts, too"),
    (Retry, "delay", "wait="),
    (Retry, "backoff", "wait="),
    (Retry, "max_delay", "tenacity.wait_random_exponential"),
    (Retry, "timeout", "timeout=20 or deadline=120 beside retry="),
    (Retry, "exceptions", "on="),
    (Retry, "retry", "attempts= or on="),  # tenacity's name for its condition
    (Retry, "Attempts", "attempts="),
    (Timeout, "timeout_seconds", "seconds="),
    (Deadline, "max_time", "seconds="),
    (CircuitBreaker, "fail_max", "failures="),
    (CircuitBreaker, "failure_threshold", "failures="),
    (CircuitBreaker, "threshold", "failures="),
    (CircuitBreaker, "reset_timeout", "open_for="),
    (CircuitBreaker, "recovery_timeout", "open_for="),
    (CircuitBreaker, "expected_exception", "on="),
    (Bulkhead, "max_concurrent", "limit="),
    (RateLimit, "calls_per_second", "write calls=10, per=1"),
    (RateLimit, "period", "per="),
    (Hedge, "delay", "after="),
    (Fallback, "default", "value="),
    (Validate, "schema", "output="),
    (Chaos, "probability", "rate="),
    (Notify, "channel", "channels="),
    (Route, "level", "severity="),
    (Slack, "webhook_url", "webhook="),
    (Email, "recipients", "to="),
    (Email, "smtp_host", "host="),
    (Webhook, "webhook_url", "url="),
    (Quarantine, "path", "url="),
    (configure, "enable", "enabled="),
    (configure, "cooldown", "notify_cooldown="),
]


@pytest.mark.parametrize(("policy", "word", "meant"), UNKNOWN, ids=lambda value: getattr(value, "__name__", value))
def test_another_name_of_an_argument_is_refused_with_ours(policy, word, meant):
    sentence = refusal(lambda: policy(**{word: 3}))
    assert sentence.startswith(f"{policy.__name__} has no argument {word!r}: ")
    assert meant in sentence


KEYWORDS = [
    ("retires", "retry="),
    ("retrys", "retry="),
    ("max_retries", "retry="),
    ("retry_delay", "retry="),
    ("wait", "retry="),
    ("circuit_breaker", "breaker="),
    ("ratelimit", "rate_limit="),
    ("fallbak", "fallback="),
    ("timout", "timeout="),
    ("schema", "validate="),
    ("alerts", "notify="),
    ("last_good", "fallback="),
    ("adaptive_rate_limit", "rate_limit="),
]


@pytest.mark.parametrize(("word", "meant"), KEYWORDS)
def test_another_name_of_a_decorators_keyword_is_refused_with_ours(word, meant):
    sentence = refusal(lambda: resilient(**{word: 3})(fetch))
    assert sentence.startswith(f"@resilient has no keyword {word!r}: did you mean {meant}? It takes retry=, deadline=")


VALUES = [
    ({"retry": "3"}, "write retry=3"),
    ({"retry": 3.0}, "write retry=3"),
    ({"retry": True}, "write retry=3"),
    ({"retry": ConnectionError}, "write retry=Retry(on=ConnectionError)"),
    ({"retry": [1, 2, 4]}, "write retry=Retry(attempts=4, wait=[1, 2, 4])"),
    ({"retry": {"attempts": 3}}, "write retry=Retry(attempts=3)"),
    ({"retry": Timeout(3)}, "write timeout=Timeout(seconds=3.0, enforce='auto')"),
    ({"retry": tenacity.stop_after_attempt(3)}, "write retry=Retry(stop=stop_after_attempt(...))"),
    ({"timeout": True}, "write timeout=20"),
    ({"deadline": False}, "write deadline=120"),
    ({"hedge": True}, "write hedge=0.2"),
    ({"timeout": "20"}, 'write 20 or "20s"'),
    ({"breaker": 5}, 'write breaker=CircuitBreaker("flights-api", failures=5)'),
    ({"rate_limit": 10}, 'write rate_limit=RateLimit("flights-api", calls=10, per=1)'),
    ({"rate_limit": "10/s"}, 'write rate_limit=RateLimit("flights-api", calls=10, per="1 s")'),
    ({"rate_limit": "100 per minute"}, 'calls=100, per="1 minute")'),
    ({"bulkhead": 4}, 'write bulkhead=Bulkhead("warehouse", 4)'),
    ({"single_flight": "shared"}, "write single_flight=SingleFlight(shared=True)"),
    ({"single_flight": 5}, "write single_flight=True"),
    ({"single_flight": fetch}, "write single_flight=SingleFlight(fetch)"),
    ({"single_flight": lambda month: month}, "write single_flight=SingleFlight(lambda ...: ...)"),
    ({"rate_limit": fetch}, "write rate_limit=RateLimit(fetch, calls=10, per=1)"),
    ({"rate_limit": lambda month: month}, "write rate_limit=RateLimit(lambda ...: ..., calls=10, per=1)"),
    ({"bulkhead": fetch}, "write bulkhead=Bulkhead(fetch, 4)"),
    ({"rate_limit": AdaptiveRateLimit}, 'write rate_limit=AdaptiveRateLimit("flights-api", start=10, per=1)'),
    ({"breaker": AdaptiveRateLimit}, 'write rate_limit=AdaptiveRateLimit("flights-api", start=10, per=1)'),
    ({"fallback": LastGood}, 'write fallback=LastGood(max_age="2d")'),
    ({"bulkhead": "db"}, 'write bulkhead=Bulkhead("db", 4)'),
    ({"validate": dict}, "A schema is a pandera DataFrameSchema"),
    ({"validate": "Orders"}, "A schema is a pandera DataFrameSchema"),
    ({"validate": {"month": Orders}}, "write validate=Validate(input={'month': Orders})"),
    ({"fallback": 5}, "a value is Fallback(value=...)"),
    ({"fallback": [fetch]}, "a mapping such as fallback={TimedOut: f, InvalidData: g}"),
    ({"notify": "#ml-alerts"}, "write Slack(channel='#ml-alerts')"),
    ({"notify": "me@example.com"}, "write Email('me@example.com', host='smtp.example.org')"),
    ({"notify": "https://hooks.slack.com/services/T/B/x"}, "not a URL: write Slack(webhook=...)"),
    ({"notify": ["slack"]}, "write Slack(channel='#ml-alerts')"),
    ({"notify": True}, "write notify=Slack("),
    ({"policies": Retry()}, "into a list"),
    ({"policies": Retry}, "write policies=[Retry(...)]"),
    ({"policies": [Retry]}, "write Retry(...)"),
    ({"policies": "retry"}, "write policies=[Retry(attempts=3), Timeout(20)]"),
    ({"idempotent": "yes"}, "idempotent= is True or False"),
]


@pytest.mark.parametrize(("options", "instead"), VALUES, ids=str)
def test_a_wrong_value_of_a_keyword_is_refused_with_a_right_one(options, instead):
    assert instead in refusal(lambda: resilient(**options)(fetch))


BARE = {
    "retry": Retry,
    "deadline": Deadline,
    "timeout": Timeout,
    "breaker": CircuitBreaker,
    "rate_limit": RateLimit,
    "bulkhead": Bulkhead,
    "hedge": Hedge,
    "validate": Validate,
    "fallback": Fallback,
    "single_flight": SingleFlight,
    "notify": Notify,
}


@pytest.mark.parametrize(("keyword", "policy"), BARE.items(), ids=BARE)
def test_a_policy_without_brackets_is_refused_with_an_example(keyword, policy):
    sentence = refusal(lambda: resilient(**{keyword: policy})(fetch))
    assert f"not {policy.__name__}: that is the class, without its arguments; write {keyword}=" in sentence


@pytest.mark.parametrize(
    ("keyword", "policy", "instead"),
    [
        ("fallback", LastGood, 'write fallback=LastGood(max_age="2d")'),
        ("rate_limit", AdaptiveRateLimit, 'write rate_limit=AdaptiveRateLimit("flights-api", start=10, per=1)'),
        ("rate_limit", Bulkhead, 'write bulkhead=Bulkhead("warehouse", 4)'),
        ("retry", CircuitBreaker, 'write breaker=CircuitBreaker("flights-api", failures=5)'),
        ("timeout", Deadline, "write deadline=120"),
        ("fallback", Chaos, "write policies=[Chaos(...)]"),
    ],
)
def test_another_policy_without_brackets_is_refused_with_an_example_of_itself(keyword, policy, instead):
    assert refusal(lambda: resilient(**{keyword: policy})(fetch)).endswith(instead)


@pytest.mark.parametrize("channel", [Slack, Email, Webhook, Console])
def test_a_channel_without_brackets_is_refused_with_an_example(channel):
    assert f"write {channel.__name__}(" in refusal(lambda: resilient(notify=channel)(fetch))


def test_the_result_of_a_call_is_refused_as_a_fallback():
    assert "write the function's name without brackets" in refusal(lambda: resilient(fallback=afetch("07"))(fetch))


VALUES_OF_POLICIES = [
    (lambda: Retry(attempts="3"), "write 3"),
    (lambda: Bulkhead("db", "4"), "write 4"),
    (lambda: CircuitBreaker("api", failure_rate=50), "write 0.5"),
    (lambda: CircuitBreaker("api", failure_rate="50%"), "write 0.5"),
    (lambda: Timeout(20, "Process"), "did you mean 'process'?"),
    (lambda: Validate(output=Orders, on_invalid="Drop"), "did you mean 'drop'?"),
    (lambda: Validate(output=Orders, quarantine=5), "is a folder's path, a URL or a storage block, not 5"),
    (lambda: Retry(wait=tenacity.wait_fixed), "write wait_fixed(...)"),
    (lambda: Slack(channel=5), "such as '#ml-alerts'"),
    (lambda: Route(Console(), kind="transiet"), "transient, throttled"),
    (lambda: Route(Console(), kind=5), "a name or several"),
    (lambda: Quarantine(None), "a folder's path, a URL or a storage block"),
    (lambda: Retry(on="transient"), "write Kind.TRANSIENT"),
    (lambda: Retry(on=["ConnectionError"]), "write ConnectionError without quotes"),
    (lambda: Retry(on=ConnectionError | TimeoutError), "write (ConnectionError, TimeoutError)"),
    (lambda: Retry(on=ConnectionError("down")), "write the class, ConnectionError"),
    (lambda: Retry(on=[503, 429]), "write Kind.TRANSIENT for 500"),
    (lambda: CircuitBreaker("api", on="throttled"), "write Kind.THROTTLED"),
    (lambda: Fallback({"TimeoutError": fetch}), "write TimeoutError without quotes"),
    (lambda: Retry(budget="api"), 'write RetryBudget("api")'),
    (lambda: Retry(budget=fetch), "write RetryBudget(fetch)"),
    (lambda: Retry(budget=5), 'write RetryBudget("flights-api")'),
    (lambda: Retry(budget=RetryBudget), 'write RetryBudget("flights-api")'),
    (lambda: SingleFlight(largest=5), "write shared=True, too"),
    (lambda: SingleFlight(str), "not the class str: write lambda url: str(url)"),
    (lambda: LastGood(key=str), "not the class str: write lambda url: str(url)"),
    (lambda: SingleFlight(True), "shared=True"),  # as it is typed
    (lambda: SingleFlight(afetch), "make it a plain `def`"),
    (lambda: AdaptiveRateLimit("api", least=10, most=5), "least=10 is above most=5"),
    (lambda: AdaptiveRateLimit("api", least=200), "least=200 is above most=100"),
    (lambda: AdaptiveRateLimit("api", most=0.2), "least=0.5 is above most=0.2"),
    (lambda: AdaptiveRateLimit("api", most=5), "start=10 does not lie between 0.5 and 5: change start=, most= or both"),
    (lambda: AdaptiveRateLimit(fetch).status(key=object()), "the key is an object"),
    (lambda: Pipeline(Retry), "write Retry(...)"),
    (lambda: Pipeline([Retry()]), "write Pipeline(*policies)"),
]


@pytest.mark.parametrize(("call", "instead"), VALUES_OF_POLICIES)
def test_a_wrong_value_of_a_policy_is_refused_with_a_right_one(call, instead):
    assert instead in refusal(call)


def test_register_kind_names_the_kinds():
    with pytest.raises(PolicyError, match=r"a Kind such as Kind.TRANSIENT, or its name \(transient, .*not 'tranzient'"):
        register_kind(KeyError, "tranzient")


class TestDurations:
    WAYS: ClassVar = [
        (20, 20),
        (0.5, 0.5),
        ("20s", 20),
        ("20 s", 20),
        ("1.5 min", 90),
        ("2h", 7200),
        ("500ms", 0.5),
        ("2d", 172800),
        ("1 week", 604800),
        ("1h30m", 5400),
        ("3 Seconds", 3),
        (timedelta(seconds=20), 20),
        (Decimal("1.5"), 1.5),
        (Fraction(1, 2), 0.5),
        (np.float32(2), 2),
        (np.int64(3), 3),
        (np.timedelta64(1500, "ms"), 1.5),
    ]
    PLACES: ClassVar = [
        lambda given: Timeout(given).seconds,
        lambda given: Deadline(given).seconds,
        lambda given: Retry(wait=given).wait,
        lambda given: Retry(wait=[given]).wait[0],
        lambda given: RetryBudget("api", per=given).per,
        lambda given: CircuitBreaker("api", window=given).window,
        lambda given: CircuitBreaker("api", open_for=given).open_for,
        lambda given: CircuitBreaker("api", open_at_most=given).open_at_most,
        lambda given: CircuitBreaker("api", slow=given).slow,
        lambda given: RateLimit("api", 10, given).per,
        lambda given: RateLimit("api", 10, 1, wait=given).wait,
        lambda given: Hedge(given).after,
        lambda given: Fallback(fetch, timeout=given).timeout,
        lambda given: Chaos(latency=given).latency,
        lambda given: Notify(Console(), cooldown=given).cooldown,
    ]

    @pytest.mark.parametrize(("given", "wanted"), WAYS, ids=str)
    def test_they_are_accepted_in_common_spellings(self, given, wanted):
        found = seconds(given, "here")
        assert (type(found), found) == (float, pytest.approx(wanted))

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("given", ["1.5 min", timedelta(seconds=90), 90, Decimal(90)], ids=str)
    def test_every_policy_takes_them_and_keeps_seconds(self, place, given):
        found = place(given)
        assert (type(found), found) == (float, 90.0)

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize(
        "given", ["20", "soon", "-5s", -5, float("nan"), float("inf"), "", [], "20 parsecs"], ids=str
    )
    def test_every_policy_refuses_other_values(self, place, given):
        with pytest.raises(PolicyError, match=r"seconds|names no wait"):
            place(given)

    @pytest.mark.parametrize(
        "given", [0, "0s", timedelta(0), True, None, "1,5 min", "1:30", 10**400, "1_0s", "²s"], ids=str
    )
    def test_anything_but_a_duration_above_zero_is_refused(self, given):
        with pytest.raises(PolicyError, match=r"here is a number of seconds above 0, not "):
            seconds(given, "here")

    def test_a_number_in_a_text_is_refused_with_a_unit(self):
        assert (
            refusal(lambda: Timeout("20"))
            == "Timeout(seconds) is a number of seconds above 0, not '20': write 20 or \"20s\""
        )

    def test_an_unknown_unit_is_named(self):
        assert "the units are ms, s, min, h, d and w, and 'parsecs' is none" in refusal(lambda: Timeout("20 parsecs"))

    def test_the_decorators_take_them(self, drive):
        call = drive(fetch, timeout="20s", deadline=timedelta(minutes=2), hedge="200ms", idempotent=True)
        assert call("07") == "07"

    def test_opening_a_breaker_by_hand_takes_them(self, resilient_clock):
        breaker = CircuitBreaker("by hand")
        breaker.open("2 min")
        assert breaker.status().retry_in == 120

    def test_settings_take_them(self, own_settings):
        found = own_settings(store_timeout="200ms", notify_cooldown=timedelta(minutes=5), notify_deadline="3s")
        assert (found.store_timeout, found.notify_cooldown, found.notify_deadline) == (0.2, 300.0, 3.0)

    def test_purging_requires_a_unit(self, tmp_path):
        quarantine = Quarantine(tmp_path)
        assert quarantine.purge("30d") == quarantine.purge(timedelta(days=30)) == []
        assert "such as '30d'" in refusal(lambda: quarantine.purge(30))
        assert "write '30d' for days" in refusal(lambda: quarantine.purge("30"))


class TestWaits:
    def test_a_list_gives_the_waits_in_order_and_repeats_the_last(self, drive, flaky, resilient_clock):
        call = drive(flaky(*[ConnectionError()] * 5), retry=Retry(attempts=6, wait=[1, "2s", timedelta(seconds=4)]))
        assert call() == "done"
        assert resilient_clock.waits == [1, 2, 4, 4, 4]

    @pytest.mark.parametrize("wait", [(1, 2), range(1, 3)])
    def test_any_sequence_is_accepted(self, wait):
        assert Retry(wait=wait).wait == (1.0, 2.0)

    def test_an_empty_one_is_refused(self):
        assert "names no wait" in refusal(lambda: Retry(wait=[]))

    def test_prefects_own_backoff_is_refused_with_a_list(self):
        from prefect.tasks import exponential_backoff

        assert "wait=[10, 20, 40, 80]" in refusal(lambda: Retry(wait=exponential_backoff(backoff_factor=10)))


class TestFallbacks:
    """A fallback that cannot take the call's arguments is refused before an outage."""

    UNFIT: ClassVar = [
        (fetch, lambda: 0),
        (fetch, lambda a, b: 0),
        (fetch, lambda error: 0),
        (fetch, lambda *, region: 0),
        (fetch, functools.partial(fetch, "07")),
        (fetch, Feed.fetch),
        (Feed.fetch, fetch),
        (Feed.fetch, Feed().fetch),
        (fetch_from, lambda month, region, year: 0),
        (lambda: 0, fetch),
        (lambda *, month: 0, lambda: 0),
    ]
    FIT: ClassVar = [
        (fetch, fetch),
        (fetch, lambda other_name: 0),
        (fetch, lambda month, error: 0),
        (fetch, lambda month, *, error=None: 0),
        (fetch, lambda *args: 0),
        (fetch, lambda *args, **kwargs: 0),
        (fetch, lambda month, more=None: 0),
        (fetch, functools.partial(fetch_from, region="us")),
        (fetch, Feed().fetch),
        (Feed.fetch, lambda self, month: 0),
        (fetch, print),
        (fetch, dict),
        (lambda *, month: 0, lambda **kwargs: 0),
        (lambda *args, **kwargs: 0, fetch),
        (fetch_from, fetch_from),
    ]

    @pytest.mark.parametrize(("fn", "stand_in"), UNFIT)
    @pytest.mark.parametrize("way", [lambda f: f, Fallback, lambda f: {TimedOut: f}])
    def test_one_that_cannot_take_the_call_is_refused_at_decoration(self, fn, stand_in, way):
        sentence = refusal(lambda: resilient(fallback=way(stand_in))(fn))
        assert "cannot take the arguments of" in sentence
        assert "A fallback is given the call's own arguments: write " in sentence

    @pytest.mark.parametrize(("fn", "stand_in"), FIT)
    @pytest.mark.filterwarnings("error")
    def test_one_that_can_is_accepted(self, fn, stand_in):
        resilient(fallback=stand_in)(fn)

    def test_the_message_shows_both_signatures(self):
        def last_good(region):
            return region

        def load(month, region):
            return month

        sentence = refusal(lambda: resilient(fallback=last_good)(load))
        assert "the fallback last_good(region) cannot take the arguments of" in sentence
        assert "write def last_good(month, region), or take *args, **kwargs" in sentence

    def test_one_that_lacks_an_optional_argument_causes_a_warning(self):
        with pytest.warns(UserWarning, match=r"cannot take the arguments of fetch_from\(month, region\)"):
            resilient(fallback=fetch)(fetch_from)

    def test_an_async_one_is_checked_too(self):
        assert "cannot take" in refusal(lambda: resilient(fallback=lambda: 0)(afetch))


class TestWhatIsDecorated:
    @pytest.mark.parametrize(
        ("thing", "instead"),
        [
            (Feed, "write @resilient(...) above the methods"),
            (staticmethod(fetch), "write @staticmethod above @resilient(...)"),
            (classmethod(fetch), "write @classmethod above @resilient(...)"),
            (Feed.month, "write @property above @resilient(...)"),
            (functools.cached_property(fetch), "write @cached_property above @resilient(...)"),
            (Retry(), "write @resilient(retry=Retry("),
            (Timeout(20), "write @resilient(timeout=20)"),
            (7, "options are given by keyword, such as @resilient(retry=3, timeout=20)"),
            ("fetch", "options are given by keyword"),
            (None, None),
        ],
        ids=str,
    )
    def test_anything_but_a_function_is_refused(self, thing, instead):
        if thing is None:  # as `resilient(None)`, which is `resilient()`
            with pytest.warns(UserWarning, match="changes nothing"):
                assert resilient(thing)(fetch)("07") == "07"
            return
        assert instead in refusal(lambda: resilient(thing))
        assert instead in refusal(lambda: resilient(retry=3)(thing))

    def test_the_result_of_a_call_is_refused(self):
        assert "decorate the function itself" in refusal(lambda: resilient(retry=3)(afetch("07")))

    @pytest.mark.parametrize("bare", [resilient, resilient()])
    def test_a_decorator_without_a_policy_warns(self, bare):
        with pytest.warns(UserWarning, match=r"changes nothing about fetch: write @resilient\(retry=3, timeout=20\)"):
            assert bare(fetch)("07") == "07"

    @pytest.mark.filterwarnings("error")
    def test_it_does_not_warn_if_a_policy_is_switched_off_or_comes_from_below(self):
        resilient(retry=None)(fetch)
        resilient(resilient(retry=3)(fetch))

    def test_methods_are_decorated_as_the_message_shows(self):
        class Client:
            @staticmethod
            @resilient(retry=3)
            def one(month):
                return month

            @classmethod
            @resilient(retry=3)
            def two(cls, month):
                return month

            @property
            @resilient(retry=3)
            def three(self):
                return "07"

        assert (Client.one("07"), Client.two("07"), Client().three) == ("07", "07", "07")


class TestWithPrefect:
    """The same for Prefect's decorators combined with ours."""

    def test_ours_over_prefects_are_refused(self):
        from prefect import flow, task

        from resilient_tasks import resilient_flow, resilient_task

        pairs = [
            (resilient(retry=3), task(fetch), "write @resilient_task(...) in place of @task and @resilient"),
            (resilient(retry=3), flow(fetch), "write @resilient_flow(...) in place of @flow and @resilient"),
            (resilient_task(retry=3), task(fetch), "replace its @task by @resilient_task"),
            (resilient_task(retry=3), flow(fetch), "write @resilient_flow(...) in place of"),
            (resilient_flow(retry=3), task(fetch), "write @resilient_task(...) in place of"),
            (resilient_flow(retry=3), flow(fetch), "replace its @flow by @resilient_flow"),
            (resilient(retry=3), resilient_task(fetch), "give all options to its @resilient_task(...)"),
            (resilient_task(retry=3), resilient_task(fetch), "give all options to its @resilient_task(...)"),
            (resilient_flow(retry=3), resilient_flow(fetch), "give all options to its @resilient_flow(...)"),
            (resilient_task(retry=3), Feed, "write @resilient_task(...) above the methods"),
            (resilient_flow(retry=3), Feed, "write @resilient_flow(...) above the methods"),
            (resilient_task(retry=3), Feed.month, "write @property above @resilient_task(...)"),
            (resilient_task(retry=3), 5, "options are given by keyword, such as @resilient_task(retry=3"),
        ]
        for decorator, thing, instead in pairs:
            assert instead in refusal(lambda decorator=decorator, thing=thing: decorator(thing))

    def test_other_names_of_keywords_are_refused_with_ours_and_prefects(self):
        from resilient_tasks import resilient_flow, resilient_task

        pairs = [
            (resilient_task, "retires", "did you mean retry= or retries=?"),
            (resilient_task, "circuit_breaker", "did you mean breaker=?"),
            (resilient_task, "cache_key", "cache_key_fn="),
            (resilient_task, "timout_seconds", "timeout_seconds="),
            (resilient_task, "descripton", "description="),
            (resilient_flow, "timout_seconds", "timeout_seconds="),
            (resilient_flow, "on_unobservd", "on_unobserved="),
            (resilient_flow, "task_runer", "task_runner="),
        ]
        for decorator, word, meant in pairs:
            sentence = refusal(lambda decorator=decorator, word=word: decorator(**{word: 3})(fetch))
            assert f"@{decorator.__name__} has no keyword {word!r}" in sentence
            assert meant in sentence
            assert "and the keywords of Prefect's @" in sentence
        assert "did you mean retry=" in refusal(lambda: resilient_task(fetch).with_options(retrys=3))

    def test_a_tasks_fallback_has_to_take_its_defaults_which_prefect_always_hands_over(self):
        from resilient_tasks import resilient_task

        assert "cannot take the arguments of fetch_from" in refusal(lambda: resilient_task(fallback=fetch)(fetch_from))
        assert "cannot take the arguments of fetch_from" in refusal(
            lambda: resilient_task(fallback=lambda month, other: 0)(fetch_from)
        )
        resilient_task(fallback=lambda month, region: 0)(fetch_from)
        resilient_task(fallback=lambda other, **options: 0)(fetch_from)

    def test_outcome_of_names_what_it_was_given(self):
        from prefect.states import Completed

        from resilient_tasks import outcome_of, resilient_task

        task = resilient_task(retry=3)(fetch)
        given = [
            (Completed(), "a State: write task.outcome"),
            ([], "a list: write [outcome_of(future) for future in futures]"),
            (None, "None: write outcome_of(task.submit(...))"),
            (7, "7: write outcome_of(task.submit(...))"),
            (task, "the ResilientTask fetch: write outcome_of(task.submit(...))"),
            (Ok(1), "that is an outcome already"),
        ]
        for thing, instead in given:
            with pytest.raises(TypeError, match="outcome_of takes the future of a submitted task, not ") as info:
                outcome_of(thing)
            assert instead in str(info.value)

    def test_docstrings_of_the_decorators_name_every_policy(self):
        from resilient_tasks import resilient_flow, resilient_task
        from resilient_tasks.decorators.keywords import PolicyOptions

        for decorator in (resilient, resilient_task, resilient_flow):
            for keyword in PolicyOptions.__annotations__:
                assert re.search(rf"^ +- `{keyword}=", decorator.__doc__, re.MULTILINE), (decorator, keyword)

    def test_the_options_that_editors_complete_are_those_that_prefect_takes(self):
        from prefect import Flow, Task

        from resilient_tasks.decorators.keywords import PolicyOptions
        from resilient_tasks.prefect.flow import FlowOptions
        from resilient_tasks.prefect.flow_run import RunConditions
        from resilient_tasks.prefect.task import TaskOptions

        ours = set(PolicyOptions.__annotations__)
        for options, prefects, more in (
            (TaskOptions, Task, set()),
            (FlowOptions, Flow, set(vars(RunConditions)["__match_args__"])),
        ):
            theirs = set(inspect.signature(prefects.__init__).parameters) - {"self", "fn"}
            assert set(options.__annotations__) - ours - more == theirs


class TestSettings:
    def test_a_variable_that_sets_nothing_causes_a_warning(self, monkeypatch):
        from resilient_tasks.core import settings

        monkeypatch.setenv("RESILIENT_TASKS_STOER", "sqlite:///states.db")
        with pytest.warns(
            UserWarning, match=r"TASKS_STOER in the environment sets nothing: did you mean \w+TASKS_STORE\?"
        ):
            settings._from_environment()

    @pytest.mark.parametrize("variable", ["RESILIENT_TASKS_COLOUR", "RESILIENT_TASK_STORE"])
    def test_so_does_a_variable_unlike_any_setting(self, monkeypatch, variable):
        from resilient_tasks.core import settings

        monkeypatch.setenv(variable, "x")
        with pytest.warns(UserWarning, match=f"{variable} in the environment sets nothing"):
            settings._from_environment()

    @pytest.mark.filterwarnings("error")
    def test_variables_that_set_something_do_not(self, monkeypatch):
        from resilient_tasks.core import settings

        for name in ("HOME", "SECRETS", "STORE", "NOTIFY_COOLDOWN"):
            monkeypatch.setenv(f"RESILIENT_TASKS_{name}", "5" if name == "NOTIFY_COOLDOWN" else "")
        assert settings._from_environment().notify_cooldown == 5.0

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            ({"enabled": "no"}, r"enabled=...\) is True or False, not 'no'"),
            ({"enabled": 0}, "True or False"),
            ({"quarantine": 5}, "is a folder, as text or a path"),
            ({"store": 5}, "or a StateStore, not 5"),
            ({"store": "states.db"}, "sqlite:///states.db"),
            ({"incidents": object}, "or a StateStore, not <class"),
            ({"store_timeout": "50"}, r"write 50 or \"50s\""),
            ({"notify_deadline": -1}, "seconds above 0"),
            ({"notify_cooldown": "soon"}, "seconds from 0 up"),
            ({"secrets": "hunter2"}, "a list of texts"),
        ],
        ids=str,
    )
    def test_a_value_of_the_wrong_type_is_refused_and_changes_nothing(self, own_settings, given, complaint):
        before = own_settings()
        with pytest.raises(PolicyError, match=complaint):
            own_settings(**given)
        assert own_settings() == before

    def test_durations_in_the_environment_may_have_a_unit(self, monkeypatch):
        from resilient_tasks.core import settings

        monkeypatch.setenv("RESILIENT_TASKS_NOTIFY_COOLDOWN", "5 min")
        monkeypatch.setenv("RESILIENT_TASKS_STORE_TIMEOUT", "0.2")
        found = settings._from_environment()
        assert (found.notify_cooldown, found.store_timeout) == (300.0, 0.2)


def test_the_suggestions_in_messages_are_accepted():
    for example in (
        "Retry(attempts=5, wait=2)",
        "Retry(attempts=4, wait=[1, 2, 4])",
        'CircuitBreaker("flights-api", failures=5)',
        'RateLimit("flights-api", calls=10, per="1 s")',
        'Bulkhead("warehouse", 4)',
        "Hedge(0.2, attempts=2)",
        "Fallback(fetch)",
        "Chaos(0.1, fault=ConnectionError)",
        'RetryBudget("flights-api", share=0.1)',
        'Route(Slack(channel="#ml-alerts"), severity="error")',
        'Email("ops@example.org", host="smtp.example.org")',
        "Validate(input={'orders': Orders})",
        "Pipeline(Retry(attempts=3), Timeout(20))",
    ):
        eval(example)  # our own examples
    assert asyncio.run(resilient(retry=3, timeout=20)(afetch)("07")) == "07"
