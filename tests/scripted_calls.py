"""Functions whose attempts end as a script says, under policies of a model, see `model_of_a_call`."""

from model_of_a_call import SECONDS, STAND_IN, Made
from pydantic import BaseModel

from resilient_tasks import (
    Bulkhead,
    CircuitBreaker,
    Fallback,
    LastGood,
    RateLimit,
    Retry,
    RetryBudget,
    TimedOut,
    resilient,
)


class Unavailable(Exception):
    """What a client makes of a 503."""

    status_code = 503


class Throttled(Exception):
    """What a client makes of a 429."""

    status_code = 429
    retry_after = 8.0


class Gone(Exception):
    """What a client makes of a 410."""

    status_code = 410


class Interrupt(BaseException):
    """A cancellation, a `KeyboardInterrupt`, a signal of Prefect's."""


class Row(BaseModel):
    n: int
    attempt: int


#: The value that stands in, which satisfies the schema as well.
STANDS_IN = [{"n": 0, "attempt": 0}]
ERRORS = {
    "refused": lambda: ConnectionError("refused"),
    "503": Unavailable,
    "429": Throttled,
    "gone": Gone,
    "bug": lambda: KeyError("column"),
    "left": lambda: TimedOut("an inner call was abandoned", abandoned=True),
    "interrupt": Interrupt,
}


class Function:
    """Ends as `next_ending()` says, attempt by attempt.

    Attributes:
        began: when each attempt began.
        most_running: how many attempts ran at once at most.
        made: how many attempts were made.
        returned: the last result, which no other attempt returns.
    """

    clock = next_ending = returned = None
    running = most_running = made = 0

    def __init__(self):
        self.began = []

    def __call__(self):
        self.running += 1
        self.made += 1
        self.began.append(self.clock.now())
        self.most_running = max(self.running, self.most_running)
        ending = self.next_ending()
        self.clock.advance(SECONDS[ending])
        self.running -= 1
        if ending in ERRORS:
            make = ERRORS[ending]
            raise make()
        self.returned = [{"n": "no number" if ending == "invalid" else 0, "attempt": self.made}]
        return self.returned


def decorated(function, policies, *, is_async, folder="", **more):
    """Put a function under these policies."""

    def fetch():
        return function()

    async def afetch():
        return function()

    return resilient(**options_of(policies, folder), **more)(afetch if is_async else fetch)


def options_of(policies, folder):
    """Write the policies as the library does."""
    circuit, rate, slots, budget = policies.circuit, policies.rate, policies.slots, policies.budget
    fallback = Fallback(value=STANDS_IN) if policies.fallback else None
    if policies.last_good is not None:
        fallback = LastGood(policies.last_good.max_age, folder=folder, name="api")
    options = {
        "timeout": policies.timeout,
        "deadline": policies.deadline,
        "fallback": fallback,
        "validate": Row if policies.validate else None,
        "breaker": circuit
        and CircuitBreaker(
            "api",
            failures=circuit.failures,
            open_for=circuit.open_for,
            probes=circuit.probes,
            open_at_most=circuit.at_most,
            enforce=not policies.shadow,
        ),
        "rate_limit": rate
        and RateLimit(
            "api",
            rate.calls,
            rate.per,
            wait=rate.wait if 0 < rate.wait < 1e9 else bool(rate.wait),
            enforce=not policies.shadow,
        ),
        "bulkhead": slots and Bulkhead("api", slots.limit, enforce=not policies.shadow),
    }
    if policies.attempts is not None:
        shared = budget and RetryBudget("api", share=budget.share, floor=budget.floor, per=1e6)
        options["retry"] = Retry(attempts=policies.attempts, wait=policies.wait, budget=shared)
    return {name: value for name, value in options.items() if value is not None} | {"idempotent": policies.idempotent}


async def made_by(call, clock, function, events, *, is_async):
    """Call once, and return what happened."""
    made, waits, function.began, function.returned = Made(), len(clock.waits), [], None
    events.clear()
    try:
        value = await call() if is_async else call()
        made.result = "ok" if value == function.returned else STAND_IN
    except BaseException as error:
        made.result = type(error).__name__
    made.ended, made.began, made.waits = clock.now(), function.began, clock.waits[waits:]
    made.events = [event.name for event in events]
    return made


def driven(coroutine):
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it suspended")
