"""Fallback: what stands in, for which failures, and what is reported."""

import asyncio
from typing import ClassVar

import pytest

from resilient_tasks import (
    DeadlineExceeded,
    Degraded,
    Failed,
    Fallback,
    Kind,
    Pipeline,
    PolicyError,
    Retry,
    TimedOut,
    resilient,
)


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def down(month="07"):
    raise ConnectionError("down")


def last_good(month="07"):
    return f"last good {month}"


def test_a_function_stands_in_with_the_calls_own_arguments(drive, resilient_events):
    call = drive(down, fallback=last_good)
    assert call("06") == "last good 06"
    assert call(month="05") == "last good 05"
    event = resilient_events.named("fallback.used")[0]
    assert (event.operation, event.fallback, event.kind) == ("down", "last_good", "transient")
    assert (event.error_type, event.message) == ("ConnectionError", "down")
    assert "call.failed" not in resilient_events.names


def test_the_outcome_says_that_it_is_degraded_and_why(drive):
    match drive(down, fallback=last_good).outcome():
        case Degraded("last good 07", because=ConnectionError() as error):
            assert error.__traceback__ is None
        case other:
            pytest.fail(f"unexpected {other!r}")


def test_a_success_needs_no_fallback(drive, flaky, resilient_events):
    assert drive(flaky(), fallback=last_good)() == "done"
    assert resilient_events == []


def test_it_comes_after_all_attempts(drive, flaky):
    fetch = flaky(*[ConnectionError()] * 9)
    assert drive(fetch, retry=Retry(attempts=3, wait=1), fallback=last_good)("06") == "last good 06"
    assert fetch.calls == 3


@pytest.mark.parametrize("value", [None, 0, {}, [1], "text"])
def test_a_plain_value_stands_in(drive, value, resilient_events):
    assert drive(down, fallback=Fallback(value=value))() is value
    assert resilient_events[-1].fallback == "a fixed value"


class TestTheError:
    def test_a_function_with_a_parameter_error_receives_it(self, drive):
        def explain(month, error):
            return f"{month}: {error}"

        assert drive(down, fallback=explain)("06") == "06: down"

    def test_so_does_one_with_a_keyword_only_error(self, drive):
        def explain(month, *, error=None):
            return str(error)

        assert drive(down, fallback=explain)("06") == "down"

    def test_an_argument_of_the_call_that_is_named_error_is_left_alone(self, drive):
        def fail(error):
            raise ConnectionError("other")

        assert drive(fail, fallback=lambda error: error)("the argument") == "the argument"

    def test_a_callable_without_a_signature_receives_the_arguments_only(self, drive):
        def fail(value):
            raise ConnectionError

        assert drive(fail, fallback=type)(7) is int


class TestBranches:
    BRANCHES: ClassVar = {
        TimedOut: lambda _: "too slow",
        Kind.TRANSIENT: lambda _: "not there",
        OSError: lambda _: "os",
    }

    @pytest.mark.parametrize(
        ("error", "result"),
        [(TimedOut("x"), "too slow"), (ConnectionError(), "not there"), (FileNotFoundError(), "os")],
    )
    def test_the_first_that_matches_stands_in(self, drive, flaky, error, result):
        assert drive(flaky(error), fallback=self.BRANCHES)("x") == result

    def test_if_none_matches_the_error_is_raised(self, drive, flaky, resilient_events):
        with pytest.raises(KeyError):
            drive(flaky(KeyError()), fallback=self.BRANCHES)("x")
        assert resilient_events.names == ["call.failed"]


class TestWhichFailures:
    @pytest.mark.parametrize(
        ("on", "error", "degraded"),
        [
            (None, ConnectionError(), True),
            (None, TimeoutError(), True),
            (None, KeyError(), False),
            (None, MemoryError(), False),
            (KeyError, KeyError(), True),
            (KeyError, ConnectionError(), False),
            (Kind.PERMANENT, TypeError(), True),
            ((Kind.TIMEOUT, KeyError), KeyError(), True),
            (lambda error: "soft" in str(error), ValueError("soft"), True),
            (lambda error: "soft" in str(error), ValueError("hard"), False),
        ],
    )
    def test_bugs_get_no_stand_in_unless_requested(self, drive, flaky, on, error, degraded):
        outcome = drive(flaky(error), fallback=Fallback(value=0, on=on)).outcome()
        assert isinstance(outcome, Degraded) is degraded

    def test_failures_given_one_by_one_serve_every_call(self, flaky):
        pipeline = Pipeline(Fallback(value=0, on=(kind for kind in Kind)))
        for _ in range(2):
            assert isinstance(pipeline.outcome(flaky(KeyError())), Degraded)


class TestThatFails:
    def test_the_original_error_is_raised_with_a_note(self, drive, resilient_events):
        def broken(month="07"):
            raise FileNotFoundError("no last good month")

        with pytest.raises(ConnectionError) as info:
            drive(down, fallback=broken)()
        assert info.value.__notes__ == ["the fallback broken failed too: FileNotFoundError: no last good month"]
        assert resilient_events.names == ["call.failed"]

    def test_a_fallback_that_lacks_an_optional_argument_causes_a_warning_and_a_note(self, drive):
        with pytest.warns(UserWarning, match=r"cannot take the arguments of down\(month\)"):
            call = drive(down, fallback=lambda: 0)
        error = call.outcome("06").error
        assert isinstance(error, ConnectionError)
        assert "failed too: TypeError" in error.__notes__[0]

    def test_an_interrupt_inside_it_passes(self, drive):
        def stop(month="07"):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            drive(down, fallback=stop)()


class TestTime:
    def test_it_runs_outside_the_deadline(self, drive, clock):
        def slow(month="07"):
            clock.advance(9)

        def stand_in(month="07"):
            clock.advance(100)
            return "stand-in"

        outcome = drive(slow, deadline=5, fallback=stand_in).outcome()
        assert outcome.value == "stand-in"
        assert isinstance(outcome.because, DeadlineExceeded)

    def test_a_timeout_of_its_own_ends_it(self, drive):
        async def alate(month="07"):
            await asyncio.sleep(5)

        call = drive(down, fallback=Fallback(alate if drive.is_async else drive.sleeper(5), timeout=0.05))
        error = call.outcome().error
        assert isinstance(error, ConnectionError)
        assert "TimedOut" in error.__notes__[0]
        assert "fallback timeout of 0.05 s" in error.__notes__[0]

    def test_a_stand_in_within_its_timeout_is_used(self, drive):
        assert drive(down, fallback=Fallback(last_good, timeout=5))() == "last good 07"


class TestAsync:
    def test_an_async_function_may_have_an_async_fallback(self):
        async def alast_good(month):
            await asyncio.sleep(0)
            return f"last good {month}"

        @resilient(fallback=alast_good)
        async def fetch(month):
            raise ConnectionError

        assert asyncio.run(fetch("06")) == "last good 06"

    @pytest.mark.parametrize("form", [lambda use: use, lambda use: {KeyError: max, OSError: use}])
    def test_a_sync_function_may_not(self, form):
        async def alast_good(month):
            pass

        with pytest.raises(PolicyError, match=r"down is sync and its fallback alast_good is async.*plain function"):
            resilient(fallback=form(alast_good))(down)


class TestWhatIsRefused:
    def test_nothing_to_stand_in(self):
        with pytest.raises(PolicyError, match="takes either a function"):
            Fallback()

    def test_two_things_to_stand_in(self):
        with pytest.raises(PolicyError, match="takes either a function"):
            Fallback(last_good, value=0)

    @pytest.mark.parametrize("use", ["x", 5, [last_good]])
    def test_a_value_that_is_not_called_one(self, use):
        with pytest.raises(PolicyError, match=r"is a function of the call's arguments, not .*Fallback\(value=...\)"):
            Fallback(use)

    def test_no_branches(self):
        with pytest.raises(PolicyError, match=r"fallback=\{\} has no branch: give .* or Fallback\(value=\{\}\)"):
            Fallback({})

    def test_a_branch_whose_key_is_no_failure(self):
        with pytest.raises(PolicyError, match="a fallback's key takes kinds, exception types"):
            Fallback({"TimedOut": last_good})

    def test_a_branch_whose_value_is_no_function(self):
        with pytest.raises(PolicyError, match=r"the fallback for <class 'KeyError'> is a function .* not 0"):
            Fallback({KeyError: 0})

    def test_on_beside_branches(self):
        with pytest.raises(PolicyError, match=r"on=...\) has no meaning beside a mapping"):
            Fallback({KeyError: last_good}, on=KeyError)

    @pytest.mark.parametrize("timeout", [0, -1, "2"])
    def test_an_invalid_timeout(self, timeout):
        with pytest.raises(PolicyError, match=r"Fallback\(timeout=...\) is a number of seconds above 0"):
            Fallback(last_good, timeout=timeout)

    def test_an_invalid_on(self):
        with pytest.raises(PolicyError, match=r"Fallback\(on=...\) takes kinds"):
            Fallback(last_good, on=503)


def test_its_repr_distinguishes_no_value_from_none():
    assert "value=None" in repr(Fallback(value=None))
    assert "value=<none given>" in repr(Fallback(last_good))


def test_a_fenced_call_has_no_fallback(resilient_events):
    class Fence(Fallback):
        async def around(self, call, proceed):
            call.fence()
            return await super().around(call, proceed)

    outcome = Pipeline(Fence(value=0)).outcome(down)
    assert isinstance(outcome, Failed)
    assert resilient_events == []
