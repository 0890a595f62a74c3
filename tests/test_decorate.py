"""From keywords to a pipeline: shorthands, refused arguments, stacking, and what stays of the function."""

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import math
import tracemalloc
import warnings
import weakref

import pandera.pandas as pa
import pytest

from resilient_tasks import (
    Chaos,
    Console,
    Deadline,
    Failed,
    Fallback,
    Ok,
    Pipeline,
    Policy,
    PolicyError,
    Retry,
    TimedOut,
    Timeout,
    Validate,
    explain,
    resilient,
)
from resilient_tasks.alerts.policy import Notify
from resilient_tasks.decorators.decorate import plan_of

SCHEMA = pa.DataFrameSchema({"n": pa.Column(int)})


def fetch(month="07"):
    """Fetch a month."""
    return month


def policies_of(decorated):
    return plan_of(decorated).pipeline.policies


class TestShorthands:
    @pytest.mark.parametrize(
        ("options", "kind", "attribute", "value"),
        [
            ({"retry": 5}, Retry, "attempts", 5),
            ({"timeout": 20}, Timeout, "seconds", 20),
            ({"deadline": 0.5}, Deadline, "seconds", 0.5),
            ({"validate": SCHEMA}, Validate, "output", SCHEMA),
            ({"fallback": fetch}, Fallback, "use", fetch),
        ],
    )
    def test_a_plain_value_is_short_for_the_policy(self, options, kind, attribute, value):
        (policy,) = policies_of(resilient(**options)(fetch))
        assert type(policy) is kind
        assert getattr(policy, attribute) == value

    def test_a_policy_is_taken_as_it_is(self):
        retry = Retry(attempts=9)
        assert policies_of(resilient(retry=retry)(fetch)) == (retry,)

    def test_one_channel_or_several_make_a_notify(self):
        for channels in (Console(), [Console(), Console()], Notify(Console())):
            (policy,) = policies_of(resilient(notify=channels)(fetch))
            assert type(policy) is Notify

    def test_none_means_left_out(self):
        nothing = dict.fromkeys(("retry", "timeout", "deadline", "validate", "fallback", "notify"))
        assert policies_of(resilient(**nothing)(fetch)) == ()

    def test_it_decorates_without_brackets(self):
        assert resilient(fetch)("06") == "06"
        assert resilient()(fetch)("06") == "06"


async def astand_in(month="07"):
    return month


def generator(month="07"):
    yield month


async def agenerator(month="07"):
    yield month


BAD = [
    ({"retry": 0}, r"Retry\(attempts=...\) counts every attempt, including the first, so it is 1 or more, not 0"),
    ({"retry": True}, r"retry= takes a Retry\(...\), not True: write retry=3"),
    ({"retry": Retry}, r"not Retry: that is the class, without its arguments; write retry=3"),
    ({"timeout": -1}, r"Timeout\(seconds\) is a number of seconds above 0, not -1"),
    ({"timeout": "20"}, "is a number of seconds above 0, not '20'"),
    ({"deadline": 0}, r"Deadline\(seconds\) is a number of seconds above 0, not 0"),
    (
        {"fallback": astand_in},
        r"fetch is sync and its fallback astand_in is async: .* Make the fallback a plain function",
    ),
    ({"fallback": {}}, r"fallback=\{\} has no branch"),
    ({"fallback": "x"}, r"not 'x'; a value is Fallback\(value=...\)"),
    ({"fallback": {"TimedOut": fetch}}, "a fallback's key takes kinds, exception types"),
    ({"fallback": {TimedOut: 7}}, "is a function of the call's arguments, not 7"),
    ({"validate": dict}, "A schema is a pandera DataFrameSchema or a DataFrameModel"),
    ({"validate": {"n": int}}, r"write validate=Validate\(input=\{'n': int\}\) for arguments"),
    ({"notify": "#ml-alerts"}, r"notify takes channels such as Slack\(channel='#ml-alerts'\)"),
    ({"notify": Console}, "notify takes channels such as"),
    ({"policies": [Retry(), Retry()]}, "retry is given twice"),
    ({"retry": 3, "policies": [Retry()]}, "retry is given twice, .* drop one of them"),
    ({"policies": [5]}, r"made of policies such as Retry\(...\), not of 5"),
    ({"policies": [Retry]}, "made of policies such as Retry"),
    ({"policies": Retry()}, r"policies=\[Retry\(...\)\] takes several policies"),
    (
        {"policies": Pipeline(Retry()), "timeout": 3},
        r"keeps its own order, so it takes no other keywords: move Timeout",
    ),
    ({"retries": 3}, r"no keyword 'retries': did you mean retry=\? It takes retry=, deadline="),
]


class TestRefusedArguments:
    @pytest.mark.parametrize(("options", "sentence"), BAD, ids=lambda value: str(value)[:60])
    def test_a_mistake_fails_at_decoration_with_what_to_write_instead(self, options, sentence):
        with pytest.raises(PolicyError, match=sentence):
            resilient(**options)(fetch)

    def test_a_fraction_above_one(self):
        with pytest.raises(PolicyError, match=r"is a fraction from 0.0 to 1.0, such as 0.05 .* It is not 1.5"):
            resilient(validate=Validate(output=SCHEMA, on_invalid="drop", max_invalid=1.5))(fetch)

    @pytest.mark.parametrize("options", [{"retry": 3}, {"timeout": 5}, {"fallback": lambda: None}], ids=str)
    def test_a_context_manager(self, options):
        @contextlib.contextmanager
        def connection():
            yield

        @contextlib.asynccontextmanager
        async def aconnection():
            yield

        for function in (connection, aconnection):
            with pytest.raises(PolicyError, match=r"connection is a context manager: .* Put the policy on a function"):
                resilient(**options)(function)

    @pytest.mark.parametrize("function", [generator, agenerator])
    @pytest.mark.parametrize(
        ("options", "why"),
        [({"retry": 3}, "run it again from its first item"), ({"validate": SCHEMA}, "only its creation")],
    )
    def test_a_generator_function(self, function, options, why):
        with pytest.raises(PolicyError, match=rf"is a generator function: .*{why}.*Let it return a list"):
            resilient(**options)(function)

    @pytest.mark.parametrize("what", [5, "fetch", Retry(attempts=2), None])
    def test_an_object_that_is_not_a_function(self, what):
        with pytest.raises(PolicyError, match=r"takes a function, not .*: options are given by keyword"):
            resilient(retry=2)(what)

    def test_the_error_is_a_type_error_and_a_value_error(self):
        assert issubclass(PolicyError, TypeError)
        assert issubclass(PolicyError, ValueError)


class TestStacking:
    def test_stacked_decorators_merge_into_one_pipeline(self, drive, flaky, resilient_clock, resilient_events):
        inner = flaky(ConnectionError(), ConnectionError())
        stacked = resilient(fallback=lambda: "stand-in")(drive(inner, retry=Retry(attempts=2, wait=1)).decorated)
        assert [policy.slot for policy in policies_of(stacked)] == ["fallback", "retry"]
        assert drive.run(stacked) == "stand-in"
        assert {event.operation for event in resilient_events} == {"flaky"}
        assert len({event.call for event in resilient_events}) == 1
        assert "call.failed" not in resilient_events.names

    def test_the_order_of_stacking_does_not_matter(self):
        one = resilient(retry=3)(resilient(fallback=fetch)(fetch))
        other = resilient(fallback=fetch)(resilient(retry=3)(fetch))
        assert explain(one) == explain(other)

    def test_the_same_policy_twice_is_refused(self):
        with pytest.raises(PolicyError, match="retry is given twice"):
            resilient(retry=3)(resilient(retry=5)(fetch))

    def test_any_of_the_decorators_can_declare_the_function_idempotent(self):
        stacked = resilient(retry=3)(resilient(timeout=3, idempotent=True)(fetch))
        assert plan_of(stacked).idempotent

    def test_the_schema_of_one_decorator_checks_the_fallback_of_another(self):
        import pandas as pd

        stacked = resilient(fallback=lambda: pd.DataFrame({"n": ["x"]}))(resilient(validate=SCHEMA)(lambda: 1 / 0))
        assert isinstance(stacked.outcome().error, ZeroDivisionError)
        stacked = resilient(fallback=Fallback(lambda: pd.DataFrame({"n": ["x"]}), on=ZeroDivisionError))(
            resilient(validate=SCHEMA)(lambda: 1 / 0)
        )
        assert "failed too: InvalidData" in stacked.outcome().error.__notes__[0]

    def test_a_foreign_decorator_between_two_of_ours_keeps_its_place(self, flaky, resilient_clock):
        seen = []

        def foreign(fn):
            @functools.wraps(fn)
            def wrapper(*args, **kwargs):
                seen.append("foreign")
                return fn(*args, **kwargs)

            return wrapper

        inner = flaky(ConnectionError(), ConnectionError())
        stacked = resilient(fallback=lambda: "stand-in")(foreign(resilient(retry=Retry(attempts=3, wait=0))(inner)))
        assert stacked() == "done"
        assert (seen, inner.calls) == (["foreign"], 3)
        assert [policy.slot for policy in policies_of(stacked)] == ["fallback"]

    def test_a_foreign_wrapper_is_not_merged_with(self):
        @functools.wraps(resilient(retry=3)(fetch))
        def foreign():
            pass

        assert plan_of(foreign) is None
        with pytest.raises(TypeError, match="explain takes"):
            explain(foreign)


class TestExplain:
    async def later(self):
        """Wait."""

    SYNC = "· over a limit, the function is interrupted by a signal in the main thread; in a worker thread the call"

    @pytest.mark.parametrize(
        ("fn", "options", "says"),
        [
            (later, {"deadline": 5}, "· over a limit, the function is cancelled"),
            (fetch, {"deadline": 5}, SYNC),
            (fetch, {"timeout": 5}, SYNC),
            (fetch, {"timeout": Timeout(5, "cooperative")}, "· over its timeout, the function is not interrupted"),
            (fetch, {"timeout": Timeout(5, "process")}, "· over a limit, the function's process is killed"),
        ],
    )
    def test_it_describes_how_a_limit_ends_the_function(self, fn, options, says):
        assert f"\n{says}" in explain(resilient(**options)(fn))

    def test_it_does_not_mention_limits_if_there_are_none(self):
        assert "over a limit" not in explain(resilient(retry=3)(fetch))


class TestWhatStaysOfTheFunction:
    def test_name_doc_and_signature(self, drive):
        decorated = drive(fetch, retry=3).decorated
        assert (decorated.__name__, decorated.__doc__) == ("fetch", "Fetch a month.")
        assert decorated.__module__ == __name__
        assert str(inspect.signature(decorated)) == "(month='07')"
        assert inspect.iscoroutinefunction(decorated) is drive.is_async

    def test_a_method_is_bound_to_its_object(self):
        class Api:
            def __init__(self):
                self.failures = 1

            @resilient(retry=Retry(attempts=2, wait=0))
            def fetch(self, month):
                if self.failures:
                    self.failures -= 1
                    raise ConnectionError
                return self, month

            @classmethod
            @resilient(retry=2)
            def make(cls):
                return cls

            @staticmethod
            @resilient(retry=2)
            def plain(n):
                return n

        api = Api()
        assert api.fetch("07") == (api, "07")
        assert isinstance(Api.fetch.outcome(Api(), "06"), Ok)
        assert plan_of(Api.fetch).operation == "Api.fetch"
        assert (Api.make(), Api.plain(7)) == (Api, 7)

    def test_an_operations_name_omits_the_scope_of_local_functions(self, resilient_events):
        class Local:
            def __call__(self):
                raise KeyError

        resilient(Local()).outcome()
        assert resilient_events[0].operation == "Local"

    def test_an_outcome_is_returned_instead_of_raised(self, drive, flaky):
        call = drive(flaky(KeyError()), retry=3)
        assert isinstance(call.outcome(), Failed)
        assert call.outcome("x").value == "x"

    def test_arguments_are_passed_as_given(self, drive):
        def echo(*args, **kwargs):
            return args, kwargs

        for options in ({}, {"retry": 2}, {"deadline": 5}):
            assert drive(echo, **options)(1, fn=2, self=3, work=4) == ((1,), {"fn": 2, "self": 3, "work": 4})


class TestTheHotPath:
    """If no policy acts before the call, the function is called first."""

    def test_a_call_inside_a_call_is_still_under_its_deadline(self, resilient_clock):
        from resilient_tasks import remaining

        inner = resilient(retry=2)(remaining)
        assert resilient(deadline=9)(inner)() == 9
        assert inner() == math.inf

    def test_the_first_failure_counts_as_the_first_attempt(self, flaky, resilient_clock):
        call = flaky(ConnectionError(), ConnectionError(), ConnectionError())
        with pytest.raises(ConnectionError) as info:
            resilient(retry=Retry(attempts=3, wait=1))(call)()
        assert call.calls == 3
        assert "after attempt 3" in info.value.__notes__[0]

    def test_the_context_is_unchanged(self, flaky):
        from resilient_tasks import current_call

        seen = []
        decorated = resilient(fallback=Fallback(value=0, on=KeyError))(flaky(KeyError()))
        decorated()
        assert current_call() is None
        resilient(retry=1)(lambda: seen.append(current_call()))()
        assert [call.attempt for call in seen] == [1]
        assert current_call() is None

    def test_each_call_has_its_own_id_which_its_events_carry(self, drive, resilient_clock, resilient_events):
        from resilient_tasks import current_call

        asked = []

        def fetch(attempts):
            call = current_call()
            asked.append((call.work.id, call.attempt))
            if call.attempt < attempts:
                raise ConnectionError

        fetching = drive(fetch, retry=3)
        for attempts in (1, 3, 1):
            fetching(attempts)
        (first, *_), (second, *_), *_, (last, *_) = asked
        assert asked == [(first, 1), (second, 1), (second, 2), (second, 3), (last, 1)]
        assert len({first, second, last}) == 3
        assert {event.call for event in resilient_events} == {second}
        assert current_call() is None

    def test_an_interrupt_leaves_the_context_unchanged(self):
        from resilient_tasks import current_call

        def stop():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            resilient(retry=2)(stop)()
        assert current_call() is None


class TestAWarningOfAbandonedAttempts:
    def test_a_sync_function_with_timeout_and_retry_warns_at_decoration(self):
        with pytest.warns(UserWarning, match=r"fetch is sync and has a timeout and a retry.*idempotent=True") as caught:
            resilient(retry=3, timeout=5)(fetch)
        assert caught[0].filename == __file__

    def test_the_warning_points_at_the_users_code_for_stacked_decorators_too(self):
        with pytest.warns(UserWarning, match="has a timeout and a retry") as caught:
            resilient(resilient(retry=3, timeout=5)(fetch))
        assert {warning.filename for warning in caught} == {__file__}

    @pytest.mark.parametrize(
        ("options", "function"),
        [
            ({"retry": 3, "timeout": 5, "idempotent": True}, fetch),
            ({"retry": 3, "timeout": 5}, astand_in),
            ({"retry": 3, "timeout": Timeout(5, enforce="cooperative")}, fetch),
            ({"timeout": 5}, fetch),
            ({"retry": 3}, fetch),
        ],
    )
    def test_there_is_no_warning_if_no_attempt_can_be_abandoned_and_retried(self, options, function):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            resilient(**options)(function)

    def test_an_async_function_that_hands_its_work_over_warns(self):
        async def insert():
            await asyncio.to_thread(fetch)

        async def inside():
            return [await asyncio.shield(each) for each in await asyncio.gather(insert())]

        for function, way in ((insert, "to_thread"), (inside, "shield")):
            with pytest.warns(UserWarning, match=rf"hands work over \({way}\).*idempotent=True") as caught:
                resilient(retry=3, timeout=5)(function)
            assert caught[0].filename == __file__


class TestCustomPolicies:
    def test_a_policy_chooses_its_slot(self, drive):
        class Guard(Policy):
            slot = "bulkhead"

            async def around(self, call, proceed):
                return await proceed(call)

        call = drive(fetch, policies=[Guard()], retry=2)
        assert call() == "07"
        assert [policy.slot for policy in policies_of(call.decorated)] == ["retry", "bulkhead"]

    def test_a_policy_that_checks_output_checks_the_fallback_too(self, drive):
        class Shout(Policy):
            slot = "validate output"

            async def around(self, call, proceed):
                outcome = await proceed(call)
                return Ok(outcome.value.upper()) if isinstance(outcome, Ok) else outcome

        def fail():
            raise ConnectionError

        assert drive(fail, policies=[Shout()], fallback=lambda: "stand-in")() == "STAND-IN"

    def test_several_chaos_policies_may_be_given(self):
        several = [Chaos(latency=1), Chaos(fault=OSError)]
        assert policies_of(resilient(policies=several)(fetch)) == tuple(several)


FIVE = {"retry": 2, "deadline": 60, "timeout": "20s", "breaker": "many", "fallback": lambda *months: "stand-in"}
FIVE["idempotent"] = True


class TestManyFunctions:
    def test_the_same_shorthand_gives_the_same_policy(self):
        one, other = (resilient(retry=3, timeout=20, idempotent=True)(lambda: 0) for _ in range(2))
        assert policies_of(one)[0] is policies_of(other)[0]
        assert policies_of(resilient(timeout=1)(lambda: 0))[0].seconds == 1
        assert policies_of(resilient(timeout="1 min")(lambda: 0))[0].seconds == 60

    @pytest.mark.parametrize("error", [None, ConnectionError], ids=["going well", "failing"])
    def test_dropped_functions_leave_nothing_behind(self, error, resilient_clock, caplog):
        caplog.set_level(logging.CRITICAL, logger="resilient_tasks")  # otherwise pytest keeps the lines

        def made():
            def fetch(month):
                if error is not None:
                    raise error
                return month

            decorated = resilient(**FIVE)(fetch)
            decorated("07")
            return decorated

        made()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            functions = [made() for _ in range(300)]
            kept = tracemalloc.get_traced_memory()[0] - before
            last = weakref.ref(functions[-1])
            functions.clear()
            gc.collect()
            left = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert last() is None
        assert left < 0.1 * kept

    @pytest.mark.parametrize(("options", "most"), [({"retry": 3}, 1.2), (FIVE, 3)], ids=["one policy", "five"])
    def test_each_function_keeps_little_memory(self, options, most):
        def made():
            def fetch(month):
                return month

            return fetch

        resilient(**options)(made())
        functions = [made() for _ in range(300)]
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            decorated = [resilient(**options)(fn) for fn in functions]
            gc.collect()
            kept = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert kept / len(decorated) <= most * 1024


def test_an_async_function_may_be_called_many_times_at_once(resilient_clock):
    attempts = []

    @resilient(retry=Retry(attempts=2, wait=1))
    async def once_again(n):
        attempts.append(n)
        await asyncio.sleep(0)
        if attempts.count(n) < 2:
            raise ConnectionError
        return n

    async def main():
        return await asyncio.gather(*(once_again(n) for n in range(20)))

    assert asyncio.run(main()) == list(range(20))
    assert len(attempts) == 40
