"""Notify: people hear of a call that failed or was degraded, once, and no task waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core import settings
from resilient_tasks.core.call import NEVER
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import NotifySuppressed, run_ids
from resilient_tasks.core.failures import classify
from resilient_tasks.core.outcome import Degraded, Failed, Outcome
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.notify import sender
from resilient_tasks.notify.message import Channel, Message
from resilient_tasks.shared.states import count

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed


@dataclass(frozen=True, eq=False)
class Notify(Policy):
    """Tell one channel or several of a call that failed or was degraded.

    Failures of one operation that are alike (same kind, same type of error) make one message within
    `configure(notify_cooldown=...)` seconds; the others are counted. Messages leave from a thread of their own: the
    call pays for putting them into a queue, and at its end a process waits at most `configure(notify_deadline=...)`
    seconds for what has not gone out.

    Raises:
        PolicyError: something in `channels` is no channel.
    """

    slot: ClassVar[str] = "notify"

    channels: Channel | Iterable[Channel]

    def __post_init__(self) -> None:
        several = self.channels if isinstance(self.channels, Iterable) else (self.channels,)
        object.__setattr__(self, "channels", tuple(several))
        for channel in self._channels:
            if isinstance(channel, type) or not isinstance(channel, Channel):
                msg = f"notify takes channels such as Slack(channel='#ml-alerts') or Console(), not {channel!r}"
                raise PolicyError(msg)

    @property
    def reacts_only(self) -> bool:
        return True

    def limit_of_stream(self, fn: Callable[..., Any]) -> float:  # noqa: ARG002  # the same for every function
        return NEVER

    def describe(self) -> str:
        return f"notify: {', '.join(channel.name for channel in self._channels)}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        outcome = await proceed(call)
        if isinstance(outcome, Failed):
            self._tell(
                call, _message(call, "failed", outcome.error, "The call raised: what depends on it does not run.")
            )
        elif isinstance(outcome, Degraded):
            consequence = "A fallback stood in: what depends on it runs on the stand-in's data."
            self._tell(call, _message(call, "degraded", outcome.because, consequence))
        return outcome

    @property
    def _channels(self) -> tuple[Channel, ...]:
        return self.channels  # type: ignore[return-value]  # a tuple since __post_init__

    def _tell(self, call: Call, message: Message) -> None:
        if call.fenced:
            return
        for channel in self._channels:
            alike = f"notify/{channel.name}/{message.operation}/{message.status}/{message.kind}/{message.error_type}"
            number = count(alike, ttl=settings.current.notify_cooldown)
            if number == 1:
                sender.post(channel, message)
            else:
                call.emit(NotifySuppressed, channel=channel.name, suppressed=number - 1)


def _message(call: Call, status: Any, error: Exception, consequence: str) -> Message:
    return Message(
        operation=call.operation,
        status=status,
        kind=classify(error).value,
        error_type=type(error).__name__,
        error=str(error),
        notes=tuple(getattr(error, "__notes__", ())),
        consequence=consequence,
        run=run_ids(),
        time=time.time(),
    )
