"""Notify: alerts about calls that failed or were degraded, without delaying a task; Route: for which of them."""

from __future__ import annotations

import fnmatch
import functools
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args

from resilient_tasks import safely
from resilient_tasks.alerts import facts, gate, registry
from resilient_tasks.alerts.channels.block import BlockChannel, NotificationBlock, is_block
from resilient_tasks.alerts.incident import Failure
from resilient_tasks.alerts.message import Channel, Severity
from resilient_tasks.alerts.sender import sender
from resilient_tasks.core import host, settings
from resilient_tasks.core.call import NEVER, Permit
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import NotifyFailed, NotifyKnown, NotifySuppressed
from resilient_tasks.core.execution import clock
from resilient_tasks.core.failures import describe, fields_of
from resilient_tasks.core.outcome import Degraded, Failed, Outcome
from resilient_tasks.core.parameters import checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import SecondsOrNone
from resilient_tasks.core.pipeline import Policy, operation_of

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Plan, Proceed

_logger = logging.getLogger("resilient_tasks")

_FAILED = "The call raised: what depends on it does not run."
_DEGRADED = "A fallback stood in: what depends on it runs on the stand-in's data."


_SEVERITIES: tuple[str, ...] = get_args(Severity)
#: The values that some conditions accept.
_KNOWN: dict[str, tuple[str, ...]] = {
    "kind": tuple(kind.value for kind in Kind),
    "policy": ("fallback", "retry", "timeout", "deadline", "breaker", "bulkhead", "rate_limit", "validate"),
}


class About(NamedTuple):
    """What a route matches: a failure, and the flow around it."""

    operation: str
    severity: str
    kind: str
    policy: str
    flow: str
    tags: frozenset[str]


@answering('Route(Slack(channel="#ml-alerts"), severity="error")', "severity")
@dataclass(frozen=True, eq=False)
class Route:
    """Alert a channel only of failures that meet every given condition.

    Names may contain `*` and `?`. If several names are given, one has to match.

    Args:
        channel: the channel, or a Prefect `NotificationBlock`.
        severity: `"warning"`, `"error"` or `"critical"`: at least this.
        kind: failure kinds, such as `"throttled"`.
        policy: the policy that ended the call: `"fallback"`, `"retry"`, `"timeout"`, `"deadline"`, `"breaker"`,
            `"bulkhead"`, `"rate_limit"` or `"validate"`.
        flow: names of flows.
        tags: tags of the flow run or task run.
        operation: names of functions.

    Raises:
        PolicyError: `channel` is no channel, or a condition is unknown.
    """

    channel: Channel | NotificationBlock
    _: KW_ONLY
    severity: Severity | None = None
    kind: str | Iterable[str] = ()
    policy: str | Iterable[str] = ()
    flow: str | Iterable[str] = ()
    tags: str | Iterable[str] = ()
    operation: str | Iterable[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel", as_channel(self.channel))
        if self.severity is not None and self.severity not in _SEVERITIES:
            msg = f"Route(severity=...) is one of {', '.join(_SEVERITIES)}; it is {self.severity!r}"
            raise PolicyError(msg)
        for name in ("kind", "policy", "flow", "tags", "operation"):
            given = getattr(self, name)
            several = given if isinstance(given, Iterable) and not isinstance(given, str | type) else (given,)
            patterns = tuple(one.value if isinstance(one, Kind) else one for one in several)
            if not all(isinstance(pattern, str) for pattern in patterns):
                msg = f"Route({name}=...) is a name or several, not {given!r}"
                raise PolicyError(msg)
            for pattern in patterns if name in _KNOWN else ():
                if not any(fnmatch.fnmatchcase(one, pattern) for one in _KNOWN[name]):
                    checks.one_of(pattern, _KNOWN[name], f"Route({name}=...)")
            object.__setattr__(self, name, patterns)

    @property
    def to(self) -> Channel:
        """The channel."""
        return self.channel  # type: ignore[return-value]  # since __post_init__

    def takes(self, about: About) -> bool:
        """Return whether the channel is alerted of this failure."""
        bad_enough = self.severity is None or _SEVERITIES.index(about.severity) >= _SEVERITIES.index(self.severity)
        return bad_enough and all(
            _matches(getattr(self, name), values)
            for name, values in (
                ("kind", (about.kind,)),
                ("policy", (about.policy,)),
                ("flow", (about.flow,)),
                ("tags", about.tags),
                ("operation", (about.operation,)),
            )
        )


def as_channel(channel: object) -> Channel:
    """Return a channel as it is, or the channel of a Prefect notification block.

    Raises:
        PolicyError: it is neither.
    """
    if is_block(channel):
        return BlockChannel(channel)
    if isawaitable(channel):
        if isinstance(channel, Coroutine):
            channel.close()  # or Python warns that it was never awaited
        msg = f"notify takes a block, not {type(channel).__name__}: write `await` before the block's load()"
        raise PolicyError(msg)
    if isinstance(channel, type) or not isinstance(channel, Channel):
        given, instead = _advice(channel)
        msg = f"notify takes channels such as Slack(channel='#ml-alerts') or Console(), not {given}{instead}"
        raise PolicyError(msg)
    return channel


def _advice(channel: object) -> tuple[str, str]:  # noqa: PLR0911  # one line for each kind
    """Return what was given instead of a channel, without secrets, and what to write."""
    if isinstance(channel, type):
        arguments = _ARGUMENTS.get(channel.__name__, "...")
        return f"the class {channel.__name__}", f": write {channel.__name__}({arguments})"
    if not isinstance(channel, str):
        return f"{channel!r}"[:80], ""
    text = channel.strip()
    if text.startswith(("http://", "https://")):  # a secret
        return "a URL", f": write {'Slack(webhook=...)' if 'hooks.slack.com' in text else 'Webhook(...)'}"
    if text.startswith("xox"):
        return "a token", ": write Slack(token=..., channel='#ml-alerts')"
    if text.lower() in _CHANNELS:
        name = _CHANNELS[text.lower()]
        return repr(text), f": write {name}({_ARGUMENTS[name]})"
    if "@" in text[1:]:
        return repr(text), f": write Email({text!r}, host='smtp.example.org')"
    return repr(text), f": write Slack(channel={text if text.startswith('#') else f'#{text}'!r})"


_ARGUMENTS = {
    "Slack": "channel='#ml-alerts'",
    "Email": "'ops@example.org', host='smtp.example.org'",
    "Webhook": "'https://alerts.example.org/hook'",
    "Console": "",
}
_CHANNELS = {"slack": "Slack", "email": "Email", "mail": "Email", "webhook": "Webhook", "console": "Console"}


def _matches(patterns: Iterable[str], values: Iterable[str]) -> bool:
    wanted = tuple(patterns)
    return not wanted or any(fnmatch.fnmatchcase(value, pattern) for value in values for pattern in wanted)


@answering('Notify(Slack(channel="#ml-alerts"))', "fallback")
@dataclass(frozen=True, eq=False)
class Notify(Policy):
    """Send an alert to one or several channels when a call failed or was degraded, and when it has recovered.

    Similar failures of one operation are one incident: the first is reported at once, further failures within the
    cool-down are counted and reported in one digest, and after `recover_after` consecutive successes its recovery is
    reported. Incidents and unsent messages are kept in the store of `configure(incidents=...)`: all processes
    share them, and what could not be sent is sent later. A separate thread sends the messages.

    Args:
        channels: one or several channels, each perhaps in a `Route`; a Prefect `NotificationBlock` is a channel, too.
        fallback: a channel that is alerted if another one refuses a message or cannot be reached.
        severity: of the failures; default: `"error"`, and `"warning"` if a fallback stood in.
        cooldown: seconds within which further failures are only counted, also as `"5 min"` or a `timedelta`; default:
            `configure(notify_cooldown=...)`.
        recover_after: consecutive successes that end an incident.

    Raises:
        PolicyError: an item of `channels` is no channel, or an argument is out of range.
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
        several: Iterable[Any] = (given,) if one else given  # type: ignore[assignment]  # checked above; blocks are iterable, too
        routes = tuple(each if isinstance(each, Route) else Route(as_channel(each)) for each in several)
        object.__setattr__(self, "channels", routes)
        if self.fallback is not None:
            object.__setattr__(self, "fallback", as_channel(self.fallback))
        if self.severity is not None and self.severity not in _SEVERITIES:
            msg = f"Notify(severity=...) is one of {', '.join(_SEVERITIES)}; it is {self.severity!r}"
            raise PolicyError(msg)
        durations.settle(self, "cooldown")
        checks.positive_number(self.recover_after, "Notify(recover_after=...)")
        self._register()

    def limit_of_stream(self, fn: Callable[..., Any]) -> float:  # noqa: ARG002  # the same for every function
        return NEVER

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        registry.register_for(operation_of(fn), self._all_channels)

    def longest(self, inner: Bound) -> Bound:
        return inner

    def describe(self) -> str:
        return f"notify: {', '.join(route.to.name for route in self._routes)}"

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:  # noqa: ARG002
        sender().begin()
        return Permit(succeeded=functools.partial(_succeeded, plan.operation, clock.present()))

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
            self.report_failure(call, status="failed", error=outcome.error, consequence=_FAILED)
        elif isinstance(outcome, Degraded):
            self.report_failure(call, status="degraded", error=outcome.because, consequence=_DEGRADED)
        else:
            self.report_success(call, began)
        return outcome

    def report_failure(
        self,
        call: Call,
        *,
        status: Literal["failed", "degraded"],
        error: Exception,
        notes: tuple[str, ...] = (),
        consequence: str = "",
    ) -> None:
        """Record a failure of the call's operation, so that an alert is sent.

        Args:
            call: the call; a fenced one is ignored.
            status: its outcome.
            error: the cause.
            notes: what was done about it, besides the error's own notes.
            consequence: what it means for everything downstream.
        """
        if call.fenced:
            return
        try:
            self._record(call, status, error, notes, consequence)
        except Exception as problem:  # the call ends as it would without alerts
            names = ", ".join(safely.text(safely.attribute(route.to, "name", "?")) for route in self._routes)
            call.emit(NotifyFailed, channel=names, **{**fields_of(problem), "message": describe(problem)})

    def report_success(self, call: Call, began: float) -> None:
        """Record that a call succeeded: an incident of its operation may be over.

        Args:
            call: the call; a fenced one is ignored.
            began: when it began, on the clock in use; incidents that failed after that stay open.
        """
        if not call.fenced:
            _succeeded(call.operation, began)

    @property
    def _routes(self) -> tuple[Route, ...]:
        return self.channels  # type: ignore[return-value]  # since __post_init__

    @property
    def _all_channels(self) -> list[Channel]:
        return [*(route.to for route in self._routes), *([] if self._fallback is None else [self._fallback])]

    @property
    def _fallback(self) -> Channel | None:
        return self.fallback  # type: ignore[return-value]  # since __post_init__

    def _register(self) -> None:
        for channel in self._all_channels:
            registry.register(channel)

    def _record(self, call: Call, status: str, error: Exception, notes: tuple[str, ...], consequence: str) -> None:
        severity: Severity = self.severity or ("warning" if status == "degraded" else "error")
        flow = host.current.flow()
        about = About(
            call.operation, severity, facts.kind_of(error), facts.policy_of(status, error), flow.name, flow.tags
        )
        channels = [route.to for route in self._routes if route.takes(about)]
        if shut := [channel.name for channel in channels if not gate.takes(channel)]:
            call.emit(NotifySuppressed, channel=", ".join(shut), suppressed=1, reason=gate.REASON)
            channels = [channel for channel in channels if channel.name not in shut]
        if not channels:
            return
        registry.register_for(call.operation, self._all_channels)  # an unpickled policy has not done so
        failure = Failure(
            fingerprint=facts.fingerprint(call.operation, status, about.kind, error),
            channels=tuple(dict.fromkeys(channel.name for channel in channels)),
            fallback="" if self._fallback is None or not gate.takes(self._fallback) else self._fallback.name,
            cooldown=settings.current.notify_cooldown if self.cooldown is None else self.cooldown,
            recover_after=self.recover_after,
            flows=(flow.name,),
            facts=functools.cache(lambda: facts.facts(status, severity, error, notes, consequence)),
            latest=functools.cache(lambda: facts.latest(error)),
        )
        recorded = sender().record_failure(call.operation, failure)
        if not recorded.unreported:
            return
        names, number, silence = ", ".join(failure.channels), recorded.unreported, recorded.silence
        reason = f"silenced: {silence}" if silence else "cool-down"
        call.emit(NotifySuppressed, channel=names, suppressed=number, reason=reason)
        if recorded.is_known:
            call.emit(NotifyKnown, channel=names, suppressed=number, next_in=recorded.window, reason=silence)


def _succeeded(operation: str, began: float) -> None:
    try:
        sender().record_success(operation, began)
    except Exception:  # the call has its result
        _logger.exception("%s: its success could not be recorded for alerts", operation)
