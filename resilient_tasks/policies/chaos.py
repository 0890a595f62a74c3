"""Chaos: inject faults, to test how the other policies handle them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import ChaosInjected
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.parameters import checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import SecondsOrNone
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.wording import short_name_of
from resilient_tasks.state.states import count

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed


@answering("Chaos(0.1, fault=ConnectionError)", "fault", "latency")
@dataclass(frozen=True, eq=False)
class Chaos(Policy):
    """Make a share of the attempts fail, wait, or return another result. For rehearsals and tests only.

    Args:
        rate: the share of attempts affected, from 0 to 1.
        fault: an exception, exception type, or function that returns one, to fail with.
        latency: seconds to wait before the attempt, also as `"2s"` or a `timedelta`; with `fault` too, before the
            failure.
        outcome: a function of the true result that returns its replacement.
        seed: makes the choice repeatable: it depends on the seed, the operation, and the number of attempts of that
            operation in the store.

    Raises:
        PolicyError: nothing to inject was given, or a value is out of range.
    """

    slot: ClassVar[str] = "chaos"

    rate: float = 1.0
    fault: Exception | type[Exception] | Callable[[], Exception] | None = field(default=None, kw_only=True)
    latency: SecondsOrNone = field(default=durations.default(None), kw_only=True)
    outcome: Callable[[Any], Any] | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        checks.fraction(self.rate, "Chaos(rate)")
        if self.fault is None and self.latency is None and self.outcome is None:
            msg = "Chaos injects nothing: give fault=ConnectionError, latency=2.0 or outcome=function"
            raise PolicyError(msg)
        if self.fault is not None and self.outcome is not None:
            msg = "Chaos takes fault= or outcome=, not both: an attempt that fails has no result to change"
            raise PolicyError(msg)
        if self.fault is not None and not isinstance(self.fault, Exception) and not callable(self.fault):
            msg = f"Chaos(fault=...) is an exception, its type, or a function that returns one, not {self.fault!r}"
            raise PolicyError(msg)
        if self.outcome is not None and not callable(self.outcome):
            msg = f"Chaos(outcome=...) is a function of the result, not {self.outcome!r}"
            raise PolicyError(msg)
        durations.settle(self, "latency")

    def longest(self, inner: Bound) -> Bound:
        return inner.after(self.latency or 0.0, "an injected latency") if self.rate else inner

    def describe(self) -> str:
        return f"chaos: {self.rate:.0%} of attempts, {self._fault_name()}, seed {self.seed}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if not self._hits(call):
            return await proceed(call)
        call.emit(ChaosInjected, fault=self._fault_name())
        if self.latency is not None:
            await call.runtime.sleep(min(self.latency, call.remaining()))
        if self.fault is not None:
            return Failed(self._error())
        outcome = await proceed(call)
        if self.outcome is not None and isinstance(outcome, Ok):
            changed = self.outcome
            return await call.runtime.invoke(changed, (outcome.value,), {})
        return outcome

    def _hits(self, call: Call) -> bool:
        number = count(f"chaos/{self.seed}/{call.operation}")
        return random.Random(f"{self.seed}/{call.operation}/{number}").random() < self.rate

    def _error(self) -> Exception:
        made = self.fault if isinstance(self.fault, Exception) or self.fault is None else self.fault()
        if isinstance(made, Exception):
            return made
        msg = f"Chaos(fault=...) returned {made!r}, which is not an exception"
        raise TypeError(msg)

    def _fault_name(self) -> str:
        parts = []
        if self.latency is not None:
            parts.append(f"latency of {self.latency:g} s")
        if self.fault is not None:
            parts.append(f"fault {short_name_of(self.fault)}")
        if self.outcome is not None:
            parts.append(f"outcome {short_name_of(self.outcome)}")
        return " and ".join(parts)
