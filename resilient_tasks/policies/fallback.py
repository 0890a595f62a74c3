"""Fallback: a stand-in for the result of a failed call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.call import NEVER
from resilient_tasks.core.classification.matching import On, matcher
from resilient_tasks.core.errors import PolicyError, PredicateError
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.parameters import callables, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import SecondsOrNone
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.stand_ins import DEFAULT, StandIn, calling, fall_back
from resilient_tasks.core.wording import short_name_of

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed


class _Missing:
    """Distinguishes "no value given" from None, also after pickling."""

    def __repr__(self) -> str:
        return "<none given>"

    def __reduce__(self) -> str:
        return "_MISSING"


_MISSING = _Missing()


@answering("Fallback(last_good)", "on", "timeout")
@dataclass(frozen=True, eq=False)
class Fallback(StandIn):
    """Let a stand-in replace the result of a failed call; the outcome is `Degraded`, with the reason.

    Args:
        use: a function of the call's own arguments; a parameter `error` receives the error. Or a mapping from exception
            types and kinds to such functions, of which the first match is used.
        value: a plain value to stand in, instead of `use`.
        on: which failures it handles, as in `Retry`. Default: all kinds but PERMANENT and RESOURCE; of a mapping, its
            keys.
        timeout: seconds for the fallback itself, also as `"5s"` or a `timedelta`. It runs outside the call's deadline.

    A fallback that fails is noted on the original error, which is then raised.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    use: Callable[..., Any] | Mapping[Any, Callable[..., Any]] | None = None
    value: Any = field(default=_MISSING, kw_only=True)
    on: On | None = field(default=None, kw_only=True)
    timeout: SecondsOrNone = field(default=durations.default(None), kw_only=True)
    through: tuple[Policy, ...] = field(default=(), kw_only=True, repr=False)
    """Policies that the stand-in must pass, like any result: the output schema."""

    def __post_init__(self) -> None:
        if (self.use is None) == (self.value is _MISSING):
            msg = "Fallback takes either a function, Fallback(last_good), or a value, Fallback(value=0)"
            raise PolicyError(msg)
        if isinstance(self.use, Mapping):
            _check_branches(self.use, self.on)
        elif self.use is not None and not callable(self.use):
            msg = (
                f"Fallback(use) is a function of the call's arguments, not {self.use!r}; a value is Fallback(value=...)"
            )
            raise PolicyError(msg)
        durations.settle(self, "timeout")
        if self.on is not None:
            if isinstance(self.on, Iterator):  # an iterator can be read once only, and each failure reads it
                object.__setattr__(self, "on", tuple(self.on))
            matcher(self.on, "Fallback(on=...)")

    @property
    def reacts_only(self) -> bool:
        return True

    @property
    def heeds_arguments(self) -> bool:
        return self.use is not None

    def longest(self, inner: Bound) -> Bound:
        if self.use is None:
            return inner
        return inner.then(self.timeout, f"the fallback {', '.join(map(_name, self.functions()))}")

    def describe(self) -> str:
        names = ", ".join(_name(use) for use in self.functions()) or f"value {self.value!r}"
        return f"fallback: {names}"

    def limit_of_stream(self, fn: Callable[..., Any]) -> float | None:
        # Prefect itself writes the final message of an async generator: a degraded outcome would not show.
        return None if callables.is_async_generator(fn) else NEVER

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Return the functions that may stand in."""
        if isinstance(self.use, Mapping):
            return tuple(self.use.values())
        return () if self.use is None else (self.use,)

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        try:
            outcome = await proceed(call)
        except Exception as problem:  # of a policy further in
            outcome = Failed(problem)
        if not isinstance(outcome, Failed) or call.fenced or call.work.again:
            return outcome
        try:
            found, use = self._chosen(outcome.error)
            if not found:
                return outcome
            produce = self._plain_value if use is None else calling(use, outcome.error)
            return await fall_back(call, outcome, produce, name=_name(use), through=self.through, seconds=self.timeout)
        except PredicateError as problem:
            return Failed(problem)
        finally:
            del outcome  # the frame that raised may refer to this one

    async def _plain_value(self, _: Call) -> Outcome[Any]:
        return Ok(self.value)

    def _chosen(self, error: Exception) -> tuple[bool, Callable[..., Any] | None]:
        if isinstance(self.use, Mapping):
            for rule, use in self.use.items():
                if matcher(rule, "a fallback's key")(error):
                    return True, use
            return False, None
        return matcher(DEFAULT if self.on is None else self.on, "Fallback(on=...)")(error), self.use


def _name(use: Callable[..., Any] | None) -> str:
    return "a fixed value" if use is None else short_name_of(use)


def _check_branches(branches: Mapping[Any, Any], on: object) -> None:
    if on is not None:
        msg = "Fallback(on=...) has no meaning beside a mapping: its keys select the failures for each function"
        raise PolicyError(msg)
    if not branches:
        msg = "fallback={} has no branch: give {TimedOut: f, ...}, or Fallback(value={}) to return an empty dict"
        raise PolicyError(msg)
    for rule, use in branches.items():
        matcher(rule, "a fallback's key")
        if Policy in type(use).__mro__:
            name = type(use).__name__
            msg = f"the fallback for {rule!r} is a function, not a policy: write fallback={name}(..., on=...)"
            raise PolicyError(msg)
        if not callable(use):
            msg = f"the fallback for {rule!r} is a function of the call's arguments, not {use!r}"
            raise PolicyError(msg)
