"""Notify: people hear of a call that failed or was degraded, once, and no task waits for it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from resilient_tasks.core import checks, clock, durations, host, safely, settings
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.call import NEVER, Leave
from resilient_tasks.core.durations import SecondsOrNone
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import NotifyFailed, NotifyKnown, NotifySuppressed
from resilient_tasks.core.failures import describe, fields_of
from resilient_tasks.core.outcome import Degraded, Failed, Outcome
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.machines.incident import Failure
from resilient_tasks.notify import facts, gate, registry
from resilient_tasks.notify.block import NotificationBlock, is_block
from resilient_tasks.notify.message import Channel, Severity
from resilient_tasks.notify.routes import About, Route, as_channel
from resilient_tasks.notify.sender import sender

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Plan, Proceed

_logger = logging.getLogger("resilient_tasks")

_FAILED = "The call raised: what depends on it does not run."
_DEGRADED = "A fallback stood in: what depends on it runs on the stand-in's data."


@answering('Notify(Slack(channel="#ml-alerts"))', "fallback")
@dataclass(frozen=True, eq=False)
class Notify(Policy):
    """Tell one channel or several of a call that failed or was degraded, and that all is well again.

    Failures of one operation that are alike are one incident: the first is told at once, more of the same within the
    cool-down are counted and told in one digest, and after `recover_after` successes in a row it is told to be over.
    Incidents and unsent messages are kept where `configure(incidents=...)` says: all processes tell of them once, and
    what could not be sent is sent later. Messages leave from a thread of their own.

    Args:
        channels: channels, or a `Route` to one; a Prefect `NotificationBlock` is one, too.
        fallback: a channel that hears of what another one refuses, or cannot be reached for.
        severity: how bad a failure is; default: `"error"`, and `"warning"` where a fallback stood in.
        cooldown: seconds in which more of the same is counted only, also as `"5 min"` or a `timedelta`; default:
            `configure(notify_cooldown=...)`.
        recover_after: successes in a row after which an incident is over.

    Raises:
        PolicyError: something in `channels` is no channel, or an argument is out of range.
    """

    slot: ClassVar[str] = "notify"

    channels: Channel | NotificationBlock | Route | Iterable[Channel | NotificationBlock | Route]
    _: KW_ONLY
    fallback: Channel | NotificationBlock | None = None
    severity: Severity | None = None
    cooldown: SecondsOrNone = field(default=durations.default(None))
    recover_after: int = 1

    def __post_init__(self) -> None:
        given = self.channels
        one = is_block(given) or not isinstance(given, Iterable) or isinstance(given, str | Mapping | type)
        several: Iterable[Any] = (given,) if one else given  # type: ignore[assignment]  # just asked; blocks iterate, too
        routes = tuple(each if isinstance(each, Route) else Route(as_channel(each)) for each in several)
        object.__setattr__(self, "channels", routes)
        if self.fallback is not None:
            object.__setattr__(self, "fallback", as_channel(self.fallback))
        if self.severity is not None and self.severity not in get_args(Severity):
            msg = f"Notify(severity=...) is one of {', '.join(get_args(Severity))}; it is {self.severity!r}"
            raise PolicyError(msg)
        durations.settle(self, "cooldown")
        checks.positive_number(self.recover_after, "Notify(recover_after=...)")
        self._be_known()

    def limit_of_stream(self, fn: Callable[..., Any]) -> float:  # noqa: ARG002  # the same for every function
        return NEVER

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        registry.know_for(operation_of(fn), self._all_channels)

    def describe(self) -> str:
        return f"notify: {', '.join(route.to.name for route in self._routes)}"

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Leave | None:  # noqa: ARG002
        sender().begin()
        return Leave(succeeded=functools.partial(_succeeded, plan.operation, clock.present()))

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        sender().begin()
        began = clock.now()
        try:
            outcome = await proceed(call)
        except Exception as error:  # of a policy further in
            outcome = Failed(error)
        if isinstance(outcome, Failed):
            if call.work.again:
                return outcome
            self.tell(call, status="failed", error=outcome.error, consequence=_FAILED)
        elif isinstance(outcome, Degraded):
            self.tell(call, status="degraded", error=outcome.because, consequence=_DEGRADED)
        else:
            self.heard(call, began)
        return outcome

    def tell(
        self,
        call: Call,
        *,
        status: Literal["failed", "degraded"],
        error: Exception,
        notes: tuple[str, ...] = (),
        consequence: str = "",
    ) -> None:
        """Count a failure of the call's operation, and have people told of it.

        Args:
            call: the call; of one that is fenced nobody hears.
            status: what came of it.
            error: why.
            notes: what was done about it, besides what the error's own notes say.
            consequence: what it means for everything downstream.
        """
        if call.fenced:
            return
        try:
            self._tell(call, status, error, notes, consequence)
        except Exception as problem:  # whatever it is, the call ends as it would have
            names = ", ".join(safely.text(safely.attribute(route.to, "name", "?")) for route in self._routes)
            call.emit(NotifyFailed, channel=names, **{**fields_of(problem), "message": describe(problem)})

    def heard(self, call: Call, began: float) -> None:
        """Take note that a call went well: an incident of its operation may be over.

        Args:
            call: the call; of one that is fenced nobody hears.
            began: when it began, on the clock in use: it says nothing of failures after that.
        """
        if not call.fenced:
            _succeeded(call.operation, began)

    @property
    def _routes(self) -> tuple[Route, ...]:
        return self.channels  # type: ignore[return-value]  # since __post_init__

    @property
    def _all_channels(self) -> list[Channel]:
        return [*(route.to for route in self._routes), *([] if self._instead is None else [self._instead])]

    @property
    def _instead(self) -> Channel | None:
        return self.fallback  # type: ignore[return-value]  # since __post_init__

    def _be_known(self) -> None:
        for channel in self._all_channels:
            registry.know(channel)

    def _tell(self, call: Call, status: str, error: Exception, notes: tuple[str, ...], consequence: str) -> None:
        severity: Severity = self.severity or ("warning" if status == "degraded" else "error")
        around = host.current.flow()
        about = About(
            call.operation, severity, facts.kind_of(error), facts.policy_of(status, error), around.name, around.tags
        )
        channels = [route.to for route in self._routes if route.takes(about)]
        if shut := [channel.name for channel in channels if not gate.takes(channel)]:
            call.emit(NotifySuppressed, channel=", ".join(shut), suppressed=1, reason=gate.REASON)
            channels = [channel for channel in channels if channel.name not in shut]
        if not channels:
            return
        registry.know_for(
            call.operation, self._all_channels
        )  # this policy may have been unpickled: it is not known yet
        failure = Failure(
            fingerprint=facts.fingerprint(call.operation, status, about.kind, error),
            channels=tuple(dict.fromkeys(channel.name for channel in channels)),
            fallback="" if self._instead is None or not gate.takes(self._instead) else self._instead.name,
            cooldown=settings.current.notify_cooldown if self.cooldown is None else self.cooldown,
            recover_after=self.recover_after,
            flows=(around.name,),
            facts=functools.cache(lambda: facts.facts(status, severity, error, notes, consequence)),
            latest=functools.cache(lambda: facts.latest(error)),
        )
        told = sender().failed(call.operation, failure)
        if told.untold:
            reason = f"silenced: {told.silence}" if told.silence else "cool-down"
            whom = ", ".join(failure.channels)
            call.emit(NotifySuppressed, channel=whom, suppressed=told.untold, reason=reason)
            if told.is_news:
                call.emit(NotifyKnown, channel=whom, suppressed=told.untold, next_in=told.window, reason=told.silence)


def _succeeded(operation: str, began: float) -> None:
    try:
        sender().succeeded(operation, began)
    except Exception:  # a result that is there is not to be lost
        _logger.exception("%s: its success could not be taken note of", operation)
