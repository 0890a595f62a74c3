"""The user's own error always arrives: nothing that the library stumbles over on the way stands in its place.

Errors that are hard to look at, predicates and functions of users that fail, under every policy that looks at an error.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
import math

import numpy as np
import pandas as pd
import pytest
import tenacity

from resilient_tasks import (
    CircuitBreaker,
    Degraded,
    Fallback,
    Kind,
    Pipeline,
    Policy,
    PolicyError,
    Retry,
    classify,
    register_kind,
    resilient,
)
from resilient_tasks.core import failures
from resilient_tasks.core.errors import PredicateError
from resilient_tasks.core.events import bus
from resilient_tasks.core.failures import describe, retry_after, status_of


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


class Down(ConnectionError):
    """What each of these errors is, besides being hard to look at."""


class SaysNothing(Down):
    def __str__(self):
        return self.request.url


class SaysANumber(Down):
    def __str__(self):
        return 503  # noqa: PLE0307  # the very mistake


class ShowsNothing(Down):
    def __repr__(self):
        raise RuntimeError("no repr")


class NoResponse(Down):
    @property
    def response(self):
        raise RuntimeError("no response was read")


class EveryAttributeRaises(Down):
    def __getattr__(self, name):
        raise KeyError(name)


class Endless(Down):
    def __getattr__(self, name):
        return getattr(self, f"{name}_")


@dataclasses.dataclass(frozen=True)
class Frozen(Down):
    number: int = 7


@dataclasses.dataclass(frozen=True, eq=True)
class Unequal(Down):
    part: object = None

    def __eq__(self, other):
        raise RuntimeError("not comparable")

    def __hash__(self):
        raise RuntimeError("not hashable")


class NoNotes(Down):
    def add_note(self, note):
        raise NotImplementedError

    __notes__ = 7


class Slotted(Down):
    __slots__ = ("request",)

    def __str__(self):
        return self.request


class OddResponse(Down):
    def __init__(self, response=None):
        super().__init__("odd")
        self.response = response


class Liar(Down):
    """Says that it is of no class."""

    @property
    def __class__(self):
        raise RuntimeError("no class")


class HidesWhatPythonKeeps(Down):
    """As a field of a dataclass does, or an attribute of a client's own."""

    args = None
    __traceback__ = __cause__ = __context__ = __dict__ = property(lambda _: 1 / 0)

    def with_traceback(self, traceback):
        raise NotImplementedError


class _Headers:
    status_code = "5oo"
    headers = None


class _OddHeaders:
    status_code = 503.0
    headers = {"Retry-After": object()}  # noqa: RUF012  # as a response has them

    def __bool__(self):
        raise ValueError("ambiguous")


ODD = {
    "__str__ raises": SaysNothing,
    "__str__ returns no text": SaysANumber,
    "__repr__ raises": ShowsNothing,
    ".response raises": NoResponse,
    "__getattr__ raises": EveryAttributeRaises,
    "__getattr__ never ends": Endless,
    "frozen dataclass": Frozen,
    "__eq__ and __hash__ raise": Unequal,
    "add_note raises, __notes__ is a number": NoNotes,
    "slots": Slotted,
    "__class__ raises": Liar,
    "args are None, __traceback__ and __dict__ raise, with_traceback raises": HidesWhatPythonKeeps,
    "ResponseMetadata is None": lambda: OddResponse({"ResponseMetadata": None}),
    "ResponseMetadata is a list": lambda: OddResponse({"ResponseMetadata": [503], "Error": None}),
    "headers are None": lambda: OddResponse(_Headers()),
    "headers hold an object": lambda: OddResponse(_OddHeaders()),
    "response is an async mock": lambda: OddResponse(pd.DataFrame({"status_code": [1, 2]})),
    "text of a megabyte": lambda: Down("x" * 1_000_000),
    "text that cannot be encoded": lambda: Down("\udcff"),
}
every_odd_error = pytest.mark.parametrize("name", ODD)


def raising(name):
    calls = []

    def fetch():
        calls.append(name)
        error = ODD[name]()
        raise error

    fetch.calls = calls
    return fetch


class TestAnErrorThatIsHardToLookAt:
    @every_odd_error
    def test_it_arrives_itself_after_all_attempts(self, drive, name, resilient_events):
        fetch = raising(name)
        policies = {"retry": Retry(attempts=3, wait=1), "timeout": 5, "deadline": 60, "breaker": "flights"}
        # Not raised: `asyncio.run` shows its task, error and all, and stumbles itself.
        outcome = drive(fetch, idempotent=True, **policies).outcome()
        assert issubclass(type(outcome.error), Down)
        assert len(fetch.calls) == 3
        assert resilient_events.names[-1] == "call.failed"
        assert len(resilient_events[-1].message) < 21_000

    @every_odd_error
    def test_the_fallback_stands_in(self, drive, name):
        outcome = drive(raising(name), retry=Retry(attempts=2, wait=1), fallback=lambda: "last good").outcome()
        assert isinstance(outcome, Degraded)
        assert outcome.value == "last good"
        assert issubclass(type(outcome.because), Down)
        assert BaseException.__traceback__.__get__(outcome.because) is None

    @every_odd_error
    def test_it_arrives_where_the_fallback_fails_too(self, drive, name):
        assert issubclass(type(drive(raising(name), fallback=raising(name)).outcome().error), Down)

    @every_odd_error
    def test_it_is_raised(self, name):
        with pytest.raises(Down):
            resilient(retry=Retry(attempts=2, wait=1))(raising(name))()

    @every_odd_error
    def test_it_is_classified_by_its_type(self, name):
        error = ODD[name]()
        assert classify(error) is Kind.TRANSIENT
        assert (status_of(error), retry_after(error)) == (None, None)

    def test_it_is_shown_by_its_type_and_arguments(self, drive, resilient_events):
        def fetch():
            raise SaysNothing("no seat")

        with pytest.raises(SaysNothing):
            drive(fetch)()
        assert resilient_events[-1].message == "SaysNothing('no seat') (its __str__ raised AttributeError)"

    def test_a_group_of_them_is_of_their_kind(self):
        assert classify(ExceptionGroup("both", [SaysNothing(), NoResponse()])) is Kind.TRANSIENT

    def test_a_group_that_hides_its_errors_is_classified(self):
        class Hides(ExceptionGroup):
            exceptions = property(lambda _: 1 / 0)

        group = Hides("both", [Down(), Down()])
        assert classify(group) is Kind.PERMANENT
        assert describe(group).startswith("Hides: both")

    def test_errors_that_wrap_each_other_are_classified(self):
        first, second = OSError(), OSError()
        first.reason, second.reason = second, first
        assert classify(first) is Kind.PERMANENT


@pytest.mark.parametrize("code", [np.int64(503), 503, __import__("http").HTTPStatus.SERVICE_UNAVAILABLE])
def test_a_status_is_one_whatever_whole_number_it_is(code):
    error = OddResponse(type("Response", (), {"status_code": code, "headers": {"retry-after": b"7"}})())
    assert (status_of(error), retry_after(error)) == (503, 7.0)
    assert type(status_of(error)) is int


class _Sulks:
    def __bool__(self):
        raise RuntimeError("neither true nor false")


def _broken(_):
    return 1 / 0


async def _later(_):
    return True


BROKEN = {
    "raises": (_broken, "ZeroDivisionError"),
    "gives what is neither true nor false": (lambda _: _Sulks(), "RuntimeError"),
    "gives a frame": (lambda _: pd.DataFrame({"a": [1, 2]}), "ValueError"),
    "gives a coroutine": (lambda error: _later(error), "has to answer at once"),  # noqa: PLW0108  # known when asked
    "compares types that do not go together": (lambda error: error > 3, "TypeError"),
    "is a condition of tenacity's that raises": (tenacity.retry_if_exception(_broken), "ZeroDivisionError"),
}
every_broken_predicate = pytest.mark.parametrize("name", BROKEN)


def down():
    raise ConnectionError("down")


class TestAPredicateThatIsBroken:
    @every_broken_predicate
    def test_it_is_raised_from_the_original(self, drive, name):
        predicate, why = BROKEN[name]
        with pytest.raises(PolicyError, match=r"Retry\(on=...\): the predicate .* raised") as caught:
            drive(down, retry=Retry(on=predicate))()
        assert why in str(caught.value)
        assert "ConnectionError: down" in str(caught.value)
        assert type(caught.value.__cause__) is ConnectionError
        assert caught.value.__cause__.__traceback__ is not None

    @every_broken_predicate
    @pytest.mark.parametrize("on", [None, ConnectionError, Kind.TRANSIENT, lambda error: str(error) == "down"])
    def test_the_fallback_goes_by_the_original(self, drive, name, on):
        call = drive(down, retry=Retry(on=BROKEN[name][0]), fallback=Fallback(lambda error: error, on=on))
        assert type(call()) is ConnectionError

    def test_a_branch_of_the_fallback_goes_by_the_original(self, drive):
        fallback = {TimeoutError: lambda: "late", ConnectionError: lambda: "down"}
        assert drive(down, retry=Retry(on=_broken), fallback=fallback)() == "down"

    def test_one_of_a_breaker_costs_no_attempt(self, drive, flaky):
        fetch = flaky(ConnectionError("first"), ConnectionError("second"))
        assert drive(fetch, retry=Retry(attempts=3, wait=1), breaker=CircuitBreaker("a", on=_broken))() == "done"

    def test_one_of_a_breaker_is_raised_from_the_original(self, drive):
        with pytest.raises(PredicateError, match=r"CircuitBreaker\(on=...\)") as caught:
            drive(down, retry=Retry(attempts=2, wait=1), breaker=CircuitBreaker("a", on=_broken))()
        assert type(caught.value.__cause__) is ConnectionError

    def test_one_of_a_fallback_is_raised_from_the_original(self, drive):
        for fallback in (Fallback(value=0, on=_broken), {_broken: lambda: 0}):
            with pytest.raises(PredicateError) as caught:
                drive(down, fallback=fallback)()
            assert type(caught.value.__cause__) is ConnectionError

    @every_broken_predicate
    def test_one_of_a_result_is_raised_from_its_own_error_and_the_fallback_serves(self, drive, name):
        predicate = BROKEN[name][0]
        if name.startswith("is a condition"):
            predicate = tenacity.retry_if_result(_broken)
        with pytest.raises(PredicateError, match=r"Retry\(on_result=...\)") as caught:
            drive(lambda: "data", retry=Retry(on_result=predicate))()
        assert caught.value.__cause__ is not None
        assert classify(caught.value) is Kind.MALFORMED
        assert drive(lambda: "data", retry=Retry(on_result=predicate), fallback=lambda: "last")() == "last"

    def test_a_class_that_cannot_be_asked_is_one_too(self, drive):
        class Meta(type):
            def __instancecheck__(cls, instance):
                raise RuntimeError("no instances")

        with pytest.raises(PredicateError, match="no instances") as caught:
            drive(down, retry=Retry(on=Meta("Odd", (Exception,), {})))()
        assert type(caught.value.__cause__) is ConnectionError

    def test_answers_that_are_as_good_as_true_or_false_are_taken(self, drive, flaky):
        for answer in (np.True_, 1, "yes"):
            assert drive(flaky(ConnectionError()), retry=Retry(on=lambda _, answer=answer: answer, wait=1))() == "done"
        for answer in (np.False_, 0, None):
            with pytest.raises(ConnectionError):
                drive(down, retry=Retry(on=lambda _, answer=answer: answer, wait=1))()


@pytest.mark.parametrize(
    "give",
    [
        lambda what: Retry(on=what),
        lambda what: Retry(on_result=what),
        lambda what: Retry(stop=what),
        lambda what: Retry(wait=what),
        lambda what: CircuitBreaker("a", on=what),
        lambda what: Fallback(value=0, on=what),
        lambda what: Fallback({what: lambda: 0}),
    ],
    ids=["on", "on_result", "stop", "wait", "breaker", "fallback", "branch"],
)
@pytest.mark.parametrize("kind", ["async", "partial", "object", "generator", "no argument", "two arguments"])
def test_what_cannot_be_asked_is_refused_at_decoration(give, kind):
    import functools  # for this alone

    class Asks:
        async def __call__(self, _):
            return True

    async def with_more(_, more):
        return more

    def generator(_):
        yield True

    what = {
        "async": _later,
        "partial": functools.partial(with_more, more=1),
        "object": Asks(),
        "generator": generator,
        "no argument": lambda: True,
        "two arguments": lambda _, __: True,
    }[kind]
    with pytest.raises(PolicyError):
        give(what)


class TestAClassifierThatIsBroken:
    @pytest.fixture(autouse=True)
    def own_rules(self, monkeypatch):
        monkeypatch.setattr(failures, "_registered", [])

    @every_broken_predicate
    def test_it_is_passed_over_and_the_log_says_so_once(self, drive, flaky, name, caplog):
        predicate = BROKEN[name][0]
        if isinstance(predicate, tenacity.retry_base):
            pytest.skip("tenacity's conditions are for policies")
        register_kind(predicate, Kind.PERMANENT)
        fetch = flaky(ConnectionError(), ConnectionError())
        with caplog.at_level(logging.WARNING, "resilient_tasks"):
            assert drive(fetch, retry=Retry(attempts=3, wait=1))() == "done"
        assert sum("is skipped" in record.getMessage() for record in caplog.records) == 1

    def test_an_async_one_is_refused(self):
        with pytest.raises(TypeError, match="plain function"):
            register_kind(_later, Kind.PERMANENT)


def _raises(_):
    raise KeyError("wait")


@pytest.mark.parametrize(
    "wait",
    [
        _raises,
        lambda _: None,
        lambda _: math.nan,
        lambda _: math.inf,
        lambda _: "2",
        lambda _: True,
        lambda _: object(),
        lambda error: _later(error),  # noqa: PLW0108  # known when asked
        tenacity.wait_chain(tenacity.wait_fixed(1)) + (lambda _: None),
    ],
)
class TestAWaitThatIsBroken:
    def test_the_attempts_are_made_all_the_same(self, drive, flaky, wait, caplog):
        fetch = flaky(ConnectionError(), ConnectionError())
        assert drive(fetch, retry=Retry(attempts=3, wait=wait))() == "done"
        assert "used the default wait" in caplog.text

    def test_the_own_error_arrives_with_a_note(self, drive, wait):
        with pytest.raises(ConnectionError, match="down") as caught:
            drive(down, retry=Retry(attempts=3, wait=wait))()
        assert "Retry(wait=...)" in caught.value.__notes__[0]
        assert "gave up after attempt 3" in caught.value.__notes__[-1]


def test_a_wait_may_return_a_timedelta(drive, flaky, clock):
    drive(flaky(ConnectionError()), retry=Retry(wait=lambda _: dt.timedelta(seconds=7)))()
    assert clock.waits == [7.0]


class TestAStopThatIsBroken:
    def test_the_number_of_attempts_decides(self, drive, flaky):
        def fetch():
            calls.append(1)
            raise ConnectionError("down")

        calls = []
        with pytest.raises(ConnectionError, match="down") as caught:
            drive(fetch, retry=Retry(attempts=3, wait=1, stop=_broken))()
        assert len(calls) == 3
        assert "Retry(stop=...) ZeroDivisionError" in caught.value.__notes__[0]

    def test_without_a_number_it_ends_the_call(self, drive):
        with pytest.raises(ConnectionError, match="down"):
            drive(down, retry=Retry(attempts=None, wait=1, stop=_broken))()


class TestTenacitysConditions:
    @pytest.mark.parametrize(
        ("condition", "attempts"),
        [
            (tenacity.retry_if_exception_type(ConnectionError), 3),
            (tenacity.retry_if_exception_type((OSError, KeyError)), 3),
            (tenacity.retry_if_exception_type(KeyError), 1),
            (tenacity.retry_if_not_exception_type(KeyError), 3),
            (tenacity.retry_if_exception(lambda error: "down" in str(error)), 3),
            (tenacity.retry_if_exception_message(match="d.wn"), 3),
            (tenacity.retry_if_not_exception_message(match="d.wn"), 1),
            (tenacity.retry_unless_exception_type(ConnectionError), 1),
            (tenacity.retry_if_exception_cause_type(ConnectionError), 1),
            (tenacity.retry_always, 3),
            (tenacity.retry_never, 1),
            (tenacity.retry_if_exception_type(KeyError) | tenacity.retry_if_exception_type(OSError), 3),
            (tenacity.retry_if_exception_type(KeyError) & tenacity.retry_if_exception_type(OSError), 1),
            ((KeyError, tenacity.retry_if_exception_type(OSError)), 3),
        ],
    )
    def test_they_are_asked_as_what_they_are(self, drive, condition, attempts):
        calls = []

        def fetch():
            calls.append(1)
            raise ConnectionError("down")

        with pytest.raises(ConnectionError, match="down"):
            drive(fetch, retry=Retry(on=condition, attempts=3, wait=1))()
        assert len(calls) == attempts

    def test_they_are_asked_with_what_tenacity_would_know(self, drive):
        asked = []

        class Mine(tenacity.retry_base):
            def __call__(self, state):
                asked.append((state.attempt_number, state.args, type(state.outcome.exception())))
                return True

        def fetch(month):
            raise ConnectionError(month)

        with pytest.raises(ConnectionError):
            drive(fetch, retry=Retry(on=Mine(), attempts=2, wait=1))("07")
        assert asked == [(1, ("07",), ConnectionError), (2, ("07",), ConnectionError)]

    def test_other_policies_take_them_too(self, drive):
        only_keys = tenacity.retry_if_exception_type(KeyError)
        with pytest.raises(ConnectionError):
            drive(down, fallback=Fallback(value=0, on=only_keys))()
        assert drive(down, fallback=Fallback(value=0, on=tenacity.retry_if_exception_type(OSError)))() == 0
        assert drive(down, breaker=CircuitBreaker("a", on=only_keys), fallback=lambda: 1)() == 1

    @pytest.mark.parametrize("condition", [tenacity.retry_if_result, tenacity.retry_if_not_result])
    def test_those_of_a_result_are_asked_about_the_result(self, drive, condition):
        results = [None, 3]
        wanted = condition(lambda value: value is None if condition is tenacity.retry_if_result else value is not None)
        assert drive(lambda: results.pop(0), retry=Retry(on_result=wanted, wait=1))() == 3

    @pytest.mark.parametrize(
        ("give", "place"),
        [
            (lambda: Retry(on=tenacity.retry_if_result(bool)), r"Retry\(on_result=...\)"),
            (lambda: Retry(on=tenacity.retry_if_result(bool) | tenacity.retry_always), r"Retry\(on_result=...\)"),
            (lambda: Retry(on_result=tenacity.retry_if_exception_type(OSError)), r"Retry\(on=...\)"),
            (lambda: Retry(on=tenacity.wait_fixed(1)), r"Retry\(wait=...\)"),
            (lambda: Retry(on=tenacity.stop_after_attempt(1)), r"Retry\(stop=...\)"),
            (lambda: Retry(on_result=tenacity.stop_after_delay(1)), r"Retry\(stop=...\)"),
            (lambda: Retry(stop=tenacity.wait_fixed(1)), r"Retry\(wait=...\)"),
            (lambda: Retry(stop=tenacity.retry_always), r"Retry\(on=...\)"),
            (lambda: Retry(wait=tenacity.stop_after_attempt(3)), r"Retry\(stop=...\)"),
            (lambda: Retry(wait=tenacity.wait_fixed), r"wait_fixed\(...\)"),
            (lambda: Retry(stop=tenacity.stop_after_delay), r"stop_after_delay\(...\)"),
            (lambda: Retry(on=tenacity.retry_if_exception_type), r"retry_if_exception_type\(...\)"),
            (lambda: Fallback(value=0, on=tenacity.wait_fixed(1)), r"Retry\(wait=...\)"),
            (lambda: CircuitBreaker("a", on=tenacity.stop_never), r"Retry\(stop=...\)"),
            (lambda: Retry(on=tenacity.asyncio.retry_if_exception(_later)), "plain function"),
        ],
    )
    def test_one_in_the_wrong_place_is_refused_at_decoration(self, give, place):
        with pytest.raises(PolicyError, match=place):
            give()


class TestAPolicyThatRaises:
    class Clumsy(Policy):
        async def around(self, call, proceed):
            await proceed(call)
            raise ConnectionError("the policy's own")

    def test_the_fallback_stands_in(self, drive):
        assert drive(lambda: 1, policies=[self.Clumsy()], fallback=lambda: "last good")() == "last good"

    def test_the_attempts_are_made(self, drive):
        calls = []
        with pytest.raises(ConnectionError, match="own"):
            drive(lambda: calls.append(1), policies=[self.Clumsy()], retry=Retry(attempts=3, wait=1))()
        assert len(calls) == 3


class TestASinkThatRaises:
    def test_it_does_not_affect_the_call_even_if_the_log_fails_too(self, drive):
        class Broken(logging.Handler):
            def emit(self, record):
                raise RuntimeError("no disk")

        handler = Broken()
        logging.getLogger("resilient_tasks").addHandler(handler)
        try:
            with bus.listening(_broken), pytest.raises(ConnectionError, match="down"):
                drive(down, retry=Retry(attempts=2, wait=1))()
        finally:
            logging.getLogger("resilient_tasks").removeHandler(handler)


def test_a_pipeline_without_a_decorator_does_the_same():
    with pytest.raises(PredicateError) as caught:
        Pipeline(Retry(on=_broken)).call(down)
    assert type(caught.value.__cause__) is ConnectionError

    async def adown():
        down()

    assert asyncio.run(Pipeline(Fallback(value=0), Retry(on=_broken)).call(adown)) == 0
