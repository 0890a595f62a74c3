"""Routes: which failures a channel is alerted of."""

from __future__ import annotations

import fnmatch
from collections.abc import Coroutine, Iterable
from dataclasses import KW_ONLY, dataclass
from inspect import isawaitable
from typing import NamedTuple, get_args

from resilient_tasks.alerts.channels.block import BlockChannel, NotificationBlock, is_block
from resilient_tasks.alerts.message import Channel, Severity
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.parameters.arguments import answering

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
        policy: the policy that had the last word: `"fallback"`, `"retry"`, `"timeout"`, `"deadline"`, `"breaker"`,
            `"bulkhead"`, `"rate_limit"` or `"validate"`.
        flow: names of flows.
        tags: tags of the flow run or task run.
        operation: names of functions.

    Raises:
        PolicyError: `channel` is no channel, or a condition is none of the known ones.
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
            channel.close()  # this error says so: no warning from Python besides
        msg = f"notify takes a block, not {type(channel).__name__}: write `await` before the block's load()"
        raise PolicyError(msg)
    if isinstance(channel, type) or not isinstance(channel, Channel):
        given, instead = _advice(channel)
        msg = f"notify takes channels such as Slack(channel='#ml-alerts') or Console(), not {given}{instead}"
        raise PolicyError(msg)
    return channel


def _advice(channel: object) -> tuple[str, str]:  # noqa: PLR0911  # one line a kind
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
