"""Retry: another attempt after a failure that is likely to pass."""

from __future__ import annotations

import functools
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from resilient_tasks import safely
from resilient_tasks.core import wording
from resilient_tasks.core.call import NEVER, Permit, seconds_since
from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT
from resilient_tasks.core.classification.matching import Matcher, On, ask, matcher
from resilient_tasks.core.errors import ENDED_BY, PolicyError, PredicateError, ResultRejected, TimedOut
from resilient_tasks.core.events import (
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    run_ids,
)
from resilient_tasks.core.execution import clock
from resilient_tasks.core.failures import Facts, describe
from resilient_tasks.core.keys import key_functions, keys
from resilient_tasks.core.later_attempts import LONGEST, LaterAttempts
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome, let_go
from resilient_tasks.core.parameters import callables, checks, durations, strategies
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration, Seconds
from resilient_tasks.core.pipeline import Policy, no_more
from resilient_tasks.core.wording import counted, number_of, short_name_of
from resilient_tasks.policies.retry.budget import RetryBudgetState
from resilient_tasks.policies.retry.machine import BudgetLimit
from resilient_tasks.state.states import states

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.stop import stop_base
    from tenacity.wait import wait_base

    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Again, Call, Plan, Proceed

    Wait: TypeAlias = Duration | Sequence[Duration] | wait_base | Callable[[Call], float]
    Stop: TypeAlias = stop_base | Callable[[RetryCallState], bool]


#: The type name of each failed attempt's error, and its HTTP status.
Failures: TypeAlias = list[tuple[str, int | None]]


@answering('RetryBudget("flights-api", share=0.1)', "share", "floor", "per")
@dataclass(frozen=True, eq=False)
class RetryBudget(keys.Keyed):
    """A limit on the retries of many calls together, so that retries add little load to a service that is down.

    All calls with the same budget name share it. When it is used up, first attempts continue, and their errors are
    raised at once. After the retry budget of Finagle (Twitter, 2016).

    Args:
        name: the name of the service; None gives each flow run its own budget, across its tasks and workers. Or a key
            function, such as `lambda url: host_of(url)`: it receives the call's arguments that it names, and returns
            the budget's name for this call.
        share: retries may be this share of the calls of the last `per` seconds, from 0 to 1,
        floor: plus this many retries, so low-traffic callers can still retry.
        per: seconds, also as `"10s"` or a `timedelta`. All retries of one period may come at once, so a long period
            allows a storm of retries.

    Raises:
        PolicyError: a value is out of range.
    """

    name: keys.Name | None = None
    _: KW_ONLY
    share: float = 0.1
    floor: int = 10
    per: Seconds = field(default=durations.default(5))
    _limit: BudgetLimit = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name is not None:
            self.settle_name()
        checks.fraction(self.share, "RetryBudget(share)")
        durations.settle(self, "per", where="RetryBudget(per)")
        if type(self.floor) is not int or self.floor < 0:
            msg = f"RetryBudget(floor) is a number of retries, 0 or more, not {self.floor!r}"
            raise PolicyError(msg)
        object.__setattr__(self, "_limit", BudgetLimit(self.share, self.floor, self.per))

    def describe(self) -> str:
        """Return a short description of the budget."""
        return f"budget of {self.title}: {self.share:.0%} of calls and {self.floor} more in {self.per:g} s"

    def pay_in(self) -> None:
        """Count a call."""
        self._state().record_call(self._limit)

    def pay_in_interrupted(self, error: BaseException | None) -> None:
        """Count a call that was cancelled or interrupted; one that failed is counted when it enters the pipeline."""
        if error is not None and not issubclass(type(error), Exception):
            self.pay_in()

    def why_not(self) -> str | None:
        """Take one retry from the budget, or return why none is left."""
        grant = self._state().try_acquire(self._limit)
        if grant.granted:
            return None
        used = f"{number_of(grant.retries, 'retry', 'retries')} of {number_of(grant.calls, 'call')} in {self.per:g} s"
        return f"the retry budget of {self.title} is used up ({used})"

    def _state(self) -> RetryBudgetState:
        name = self.name if self.name is not None else f"run/{run_ids().get('flow_run_id', 'none')}"
        return states().view(f"budget/{name}", RetryBudgetState)

    @property
    def title(self) -> str:
        return super().title if self.name is not None else "this flow run"


@answering("Retry(attempts=5, wait=2)", "attempts", "wait")
@dataclass(frozen=True, eq=False)
class Retry(Policy):
    """Try again after a failure that is likely to pass.

    Args:
        on: which failures are retried: kinds, exception types, a predicate of the error, a tenacity retry condition, or
            several of these. Default: TRANSIENT, THROTTLED and TIMEOUT.
        on_result: a predicate of the result, or a tenacity retry condition; an attempt whose result satisfies it counts
            as failed.
        attempts: the total number of attempts, including the first. None sets no limit: give `stop` then.
        wait: seconds between attempts, also as `"2s"` or a `timedelta`; a list of these, such as `[1, 2, 4]`, one for
            each wait in turn and the last for all that follow; a tenacity wait strategy; or a function of the failed
            call that returns seconds. Default: exponential with full jitter, 0.5 s doubling to 60 s (Brooker,
            "Exponential Backoff And Jitter", 2015). A longer Retry-After of the service is honored.
        stop: a tenacity stop strategy; with `attempts` as well, whichever comes first.
        budget: a `RetryBudget`, shared with other calls; once it is used up, no further attempt is made.

    If the wait would end after the call's deadline, the last error is raised at once, with a note. An abandoned attempt
    (see `Timeout`) is retried only if the operation is `idempotent=True`.

    A predicate that raises ends the call with a `PredicateError`, from the call's own error. A `wait` or `stop` that
    raises, or returns nothing usable, costs no attempt: the default wait is used, and `attempts` decides when to stop.
    A log record and a note on the error report it.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    slot: ClassVar[str] = "retry"
    repeats: ClassVar[bool] = True

    _: KW_ONLY
    on: On | None = None
    on_result: Callable[[Any], bool] | None = None
    attempts: int | None = 3
    wait: Wait | None = None
    stop: Stop | None = None
    budget: RetryBudget | None = None
    _retries: Matcher = field(init=False, repr=False)
    _permit: Permit | None = field(init=False, repr=False)
    _needs_tenacity: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_attempts(self.attempts, self.stop)
        object.__setattr__(self, "wait", _settled(self.wait))
        _check_on_result(self.on_result)
        _check_stop(self.stop)
        if self.budget is not None and not isinstance(self.budget, RetryBudget):
            name = key_functions.as_name(self.budget, "flights-api")
            msg = f"Retry(budget=...) takes a RetryBudget, not {self.budget!r}: write RetryBudget({name})"
            raise PolicyError(msg)
        retries = _by_default() if self.on is None else matcher(self.on, "Retry(on=...)")
        object.__setattr__(self, "_retries", retries)
        needs = self._retries.uses_tenacity or self.stop is not None or bool(strategies.kind_of(self.wait))
        object.__setattr__(self, "_needs_tenacity", needs)
        has_budget = self.budget is not None and not self.budget.is_keyed
        only_counts = has_budget and self.on_result is None and self.stop is None
        permit = None
        if only_counts and self.budget:
            permit = Permit(succeeded=self.budget.pay_in, ended=self.budget.pay_in_interrupted)
        object.__setattr__(self, "_permit", permit)

    @property
    def reacts_only(self) -> bool:
        """False if the first attempt matters too: its result is judged, its time measured, or its call counted."""
        return self.on_result is None and self.stop is None and self.budget is None

    @property
    def heeds_arguments(self) -> bool:
        return self._needs_tenacity or callable(self.wait) or self.budget is not None

    @property
    def most_attempts(self) -> int:
        return self.attempts or 0

    def longest(self, inner: Bound) -> Bound:
        from resilient_tasks.policies.retry.worst_case import ends_of, waits_of  # noqa: PLC0415  # only for `explain`

        attempts, ends = ends_of(self.stop, self.attempts)
        return inner.repeated(attempts, waits_of(_default_wait() if self.wait is None else self.wait), ends=ends)

    @property
    def again(self) -> Again:
        """Decide about another attempt without the pipeline, if no sink listens and nothing limits the call."""
        if type(self) is not Retry or not self._retries.by_error_alone or callable(self.wait):
            return no_more  # a user's subclass may decide otherwise
        return _again(self._retries, self.attempts or 0, self.wait)

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:  # noqa: ARG002
        return self._permit

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if self.budget is not None:
            self.budget.check_key(fn)

    def for_call(self, call: Call) -> Retry:
        """Return this policy with the budget of a call."""
        return keys.changed(self, budget=None if self.budget is None else self.budget.for_call(call))

    def describe(self) -> str:
        upto = "unlimited attempts" if self.attempts is None else number_of(self.attempts, "attempt")
        budget = "" if self.budget is None else f", {self.budget.describe()}"
        return f"retry: {upto}, {self._retries.describe()}{budget}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.budget is not None and self.budget.is_keyed:
            return await keys.around(self, call, proceed)
        if self.budget is not None:
            self.budget.pay_in()
        failures: Failures = [(cls.__name__, status) for cls, status in call.work.tried]
        problems: dict[str, None] = {}
        attempt = len(failures) + 1
        began: float | None = None  # of this attempt; the first one begins with the call
        while True:
            here = call.attempted(attempt)
            try:
                outcome = await proceed(here)
            except Exception as error:  # of a policy further in
                outcome = Failed(error)
            if self.on_result is not None:
                outcome = self._judged(here, outcome)
            if not isinstance(outcome, Failed):
                return outcome if attempt == 1 else self._recovered(here, outcome, failures, began)
            facts = outcome.facts
            failures.append((facts.error_type, facts.http_status))
            state = _tenacity_state(here, outcome) if self._needs_tenacity else None
            delay = self._delay(here, facts, state, problems)
            try:
                reason = self._stop_reason(here, facts, delay, state, problems)
            except PredicateError as error:
                outcome, reason = Failed(error), "Retry(on=...) is broken"
            if reason is not None:
                return self._exhausted(here, outcome, reason, failures, problems, began=began)
            due = clock.now() + delay  # emitting the event takes time, too
            here.emit(RetryScheduled, facts, attempts=self.attempts, delay=delay, seconds=_lasted(here, began))
            let_go(outcome.error)
            del outcome, facts, state  # nothing may keep the failed attempt's arguments alive during the wait
            if delay > 0:
                await call.runtime.sleep(due - clock.now())
            else:
                clock.check()
            attempt += 1
            began = clock.now()
            call.emit(RetryStarted, attempts=self.attempts, attempt=attempt)

    def _judged(self, call: Call, outcome: Outcome[Any]) -> Outcome[Any]:
        """Return `outcome`, or a failure if `on_result` rejects its result."""
        if not isinstance(outcome, Ok):
            return outcome
        given = _tenacity_state(call, outcome) if strategies.kind_of(self.on_result) else outcome.value
        try:
            if not ask(cast("Any", self.on_result), given, "Retry(on_result=...)"):
                return outcome
        except PredicateError as error:
            return Failed(error)
        return Failed(ResultRejected(f"attempt {call.attempt} returned a result that is retried", result=outcome.value))

    def _recovered(self, call: Call, outcome: Outcome[Any], failures: Failures, began: float | None) -> Outcome[Any]:
        if call.wants(RetryRecovered):
            seconds = _lasted(call, began)
            call.emit(RetryRecovered, attempts=self.attempts, seconds=seconds, **_counts(failures))
        return outcome if isinstance(outcome, Degraded | Failed) else Ok(outcome.value, call.attempt)

    def _exhausted(
        self,
        call: Call,
        outcome: Failed,
        reason: str,
        failures: Failures,
        problems: Iterable[str],
        *,
        began: float | None,
    ) -> Failed:
        if call.attempt == 1 and reason == _NOT_RETRIED:
            return outcome  # not retried, so not given up
        tally = _counts(failures)
        call.emit(RetryExhausted, outcome.facts, reason=reason, seconds=_lasted(call, began), **tally)
        gave_up = f"{call.operation}: gave up after attempt {call.attempt} ({counted(tally['failures'])}): {reason}"
        for text in (*problems, gave_up):
            safely.note(outcome.error, text)
        safely.mark(outcome.error, ENDED_BY, self.slot)
        return outcome

    def _delay(self, call: Call, facts: Facts, state: RetryCallState | None, problems: dict[str, None]) -> float:
        """Return the seconds to wait. If `wait` fails, use the default, and add a message to `problems`."""
        try:
            seconds = self.wait if isinstance(self.wait, float) else self._own_wait(call, state)
        except Exception as problem:
            _report(call, f"Retry(wait=...) {describe(problem)}: used the default wait", problems)
            seconds = _wait_after(call.attempt, None)
        if (asked := facts.retry_after) is not None and asked > seconds:
            seconds = asked
        seconds = min(max(0.0, seconds), LONGEST)
        if state is not None:
            state.upcoming_sleep = seconds
        return seconds

    def _own_wait(self, call: Call, state: RetryCallState | None) -> float:
        if not callable(self.wait):
            return _wait_after(call.attempt, self.wait)
        given = state if strategies.kind_of(self.wait) else call
        return durations.seconds_from(cast("Callable[[Any], Any]", self.wait)(given))

    def _stop_reason(  # noqa: PLR0911  # one line per reason
        self, call: Call, facts: Facts, delay: float, state: RetryCallState | None, problems: dict[str, None]
    ) -> str | None:
        if call.fenced:
            return "the caller stopped waiting"
        error = facts.error
        if not self._retries(facts, state) and not safely.is_a(error, ResultRejected):
            return _NOT_RETRIED
        if safely.is_a(error, TimedOut) and error.abandoned and not call.work.idempotent:
            return (
                "the abandoned attempt may still run; idempotent=True allows another beside it,"
                ' and Timeout(..., enforce="process") can stop a sync function'
            )
        if self.attempts is not None and call.attempt >= self.attempts:
            return "no attempts left"
        if self.stop is not None and state is not None and self._stops(call, state, problems):
            return f"stopped by {short_name_of(self.stop)}"
        if call.deadline < NEVER and clock.now() + delay >= call.deadline:
            return f"the next attempt, after {delay:.1f} s, would start past the deadline"
        return None if self.budget is None else self.budget.why_not()

    def _stops(self, call: Call, state: RetryCallState, problems: dict[str, None]) -> bool:
        try:
            return ask(cast("Any", self.stop), state, "Retry(stop=...)")
        except PredicateError as error:
            endless = self.attempts is None
            what = (
                "stopped, as attempts=None sets no other limit"
                if endless
                else f"stopped after {self.attempts} attempts"
            )
            _report(call, f"Retry(stop=...) {describe(error.__cause__ or error)}: {what}", problems)
            return endless


def _lasted(call: Call, began: float | None) -> float | None:
    """Return the seconds that an attempt took; None if it is not known when it began.

    Args:
        call: the attempt.
        began: when it began; None for the first attempt of this loop, which begins with the call.
    """
    if began is not None:
        return seconds_since(began)
    is_inner = call.attempt == 1 and call.parent is not None and call.parent.attempt > 1  # of a loop in a loop
    return None if is_inner or call.attempt > 1 else call.lasted()


def _report(call: Call, problem: str, problems: dict[str, None]) -> None:
    if problem not in problems:
        problems[problem] = None
        logging.getLogger("resilient_tasks").warning("%s: %s", call.operation, problem)


def _counts(failures: Failures) -> dict[str, dict[str, int]]:
    """Count failed attempts by type of error, and by the short form shown to users."""
    return {
        "errors": dict(Counter(error_type for error_type, _ in failures)),
        "failures": dict(Counter(itertools.starmap(wording.in_brief, failures))),
    }


@functools.lru_cache(256)  # most policies are alike
def _again(rules: Matcher, attempts: int, wait: Any) -> Again:
    return LaterAttempts(rules, attempts, wait, _wait_after).ask


_NOT_RETRIED = "not a failure to retry"


@functools.cache
def _by_default() -> Matcher:
    return matcher(RETRIED_BY_DEFAULT, "Retry(on=...)")


def _wait_after(attempt: int, wait: Any) -> float:
    """Return the seconds to wait after this attempt, if `wait` is no function."""
    if isinstance(wait, tuple):
        return float(wait[min(attempt, len(wait)) - 1])
    return float(wait) if wait is not None else _default_wait()(cast("Any", _Numbered(attempt)))


@functools.cache
def _default_wait() -> wait_base:
    from tenacity import wait_random_exponential  # noqa: PLC0415  # only after a failure

    return wait_random_exponential(multiplier=0.5, max=60)


class _Numbered:
    """All that tenacity's exponential wait needs of its state, at a tenth of the cost of a whole one."""

    __slots__ = ("attempt_number",)

    def __init__(self, attempt_number: int) -> None:
        self.attempt_number = attempt_number


def _tenacity_state(call: Call, outcome: Ok[Any] | Failed) -> RetryCallState:
    from tenacity import RetryCallState  # noqa: PLC0415  # only after a failure

    work = call.work
    state = RetryCallState(cast("Any", None), work.fn, work.args, dict(work.kwargs))
    state.attempt_number = call.attempt
    if isinstance(outcome, Failed):
        state.set_exception((type(outcome.error), outcome.error, outcome.traceback))
    else:
        state.set_result(outcome.value)
    # tenacity took the times from its own clock, but this one may be virtual.
    state.start_time, state.outcome_timestamp = call.started, clock.now()
    return state


def _check_attempts(attempts: int | None, stop: object) -> None:
    if attempts is None:
        if stop is None:
            msg = "Retry(attempts=None) would never stop: give attempts=5, or stop=stop_after_delay(60)"
            raise PolicyError(msg)
    elif type(attempts) is not int or attempts < 1:
        msg = f"Retry(attempts=...) counts every attempt, including the first, so it is 1 or more, not {attempts!r}"
        msg += checks.as_whole(attempts)
        raise PolicyError(msg)


def _check_on_result(on_result: object) -> None:
    if on_result is not None:
        strategies.check_place(on_result, "retry", "Retry(on_result=...)")
        strategies.check_judges(on_result, "results", "Retry(on_result=...)")
        callables.check_predicate(on_result, "Retry(on_result=...)", "a predicate of the result")


def _check_stop(stop: object) -> None:
    if stop is not None:
        strategies.check_place(stop, "stop", "Retry(stop=...)")
        what = "a tenacity stop strategy such as stop_after_delay(60), or a function of tenacity's state"
        callables.check_predicate(stop, "Retry(stop=...)", what)


def _settled(wait: Any) -> Any:
    """Return `wait` with durations in seconds."""
    if wait is None:
        return None
    if isinstance(wait, list | tuple | range):
        if not wait:
            msg = "Retry(wait=[]) names no wait: give seconds, a list such as [1, 2, 4], or leave it out"
            raise PolicyError(msg)
        return tuple(durations.seconds(each, "each item of Retry(wait=[...])", zero=True) for each in wait)
    if not callable(wait):
        try:
            return durations.seconds(wait, "Retry(wait=...)", zero=True)
        except PolicyError:
            msg = f"{_WAITS}, {durations.instead(wait)}"
        raise PolicyError(msg)
    if isinstance(wait, type):
        msg = f"{_WAITS}, not the class {wait.__name__}: write {wait.__name__}(...)"
        raise PolicyError(msg)
    if getattr(wait, "__module__", "") == "prefect.tasks":  # exponential_backoff(...), whose result takes a number
        msg = f"{_WAITS}: Prefect's exponential_backoff(backoff_factor=10) is wait=[10, 20, 40, 80]"
        raise PolicyError(msg)
    strategies.check_place(wait, "wait", "Retry(wait=...)")
    callables.check_predicate(wait, "Retry(wait=...)", "seconds, or a function of the call that returns seconds")
    return wait


_WAITS = "Retry(wait=...) takes seconds from 0 up, a tenacity strategy or a function of the call, or a list of seconds"
