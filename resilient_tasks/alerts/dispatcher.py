"""The dispatcher sends what is due in an outbox; each delivery is sent by one process at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resilient_tasks.alerts import gate, registry
from resilient_tasks.alerts.buffer import FailureBuffer, Key
from resilient_tasks.alerts.delivery import clamped
from resilient_tasks.alerts.facts import message_of
from resilient_tasks.alerts.message import Channel, Message
from resilient_tasks.alerts.outbox import Agenda, LeasedDelivery, Outbox
from resilient_tasks.core import settings
from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT
from resilient_tasks.core.events import NotifyFailed, NotifySent, bus
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.interrupt import by_signal, signals_work_here
from resilient_tasks.core.failures import classify, describe, fields_of, retry_after
from resilient_tasks.core.outcome import Ok

#: Seconds after its deadline at which another process may send a delivery whose sender has died.
_GRACE = 5.0
#: Seconds between two scans for deliveries that other processes left behind.
_SCAN = 60.0
#: The most incidents that a process remembers.
_ROOM = 1000
#: Attempts of a delivery that its channel refuses, and the first and the longest pause between them (seconds).
_MOST_REFUSALS, _FIRST_PAUSE, _LAST_PAUSE = 10, 30.0, 3600.0
#: Seconds after which a delivery is dead, whatever the reason.
_TOO_OLD = 7 * 86400.0
#: Consecutive failures after which an unreachable channel's fallback is alerted.
_FALLBACK_AFTER = 3


@dataclass(slots=True)
class Window:
    """This process's view of an incident: whether its next failure has to be recorded at once.

    Attributes:
        until: time, on the clock in use, until which further failures are only counted.
        cooldown: a failure this many seconds after the last one has to be recorded at once.
        unreported: known failures that no message reports.
        last: time of the last failure.
        succeeded: a call has succeeded since then, so the incident may have ended.
    """

    until: float
    cooldown: float
    unreported: int
    last: float
    succeeded: bool = False

    def counts(self, now: float) -> bool:
        """Return whether a failure now is only counted, and count it if so."""
        if now >= self.until and (self.succeeded or now - self.last >= self.cooldown):
            return False
        self.last, self.succeeded = now, False
        self.unreported += 1
        return True


class Dispatcher:
    """Sends what is due in an outbox. It keeps an agenda, so as to read only operations with something due.

    Attributes:
        outbox: the outbox.
        touched: operations to work through in the next round, the last one first.
        failing: channels whose last attempt failed.
        skips_failing: leave out these channels: the process ends, and another one can send to them later.
        buffer: failures that the outbox has not recorded yet.
        windows: this process's view of incidents.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.touched: dict[str, None] = {}
        self.failing: set[str] = set()
        self.skips_failing = False
        self.buffer: FailureBuffer = FailureBuffer()
        self.windows: dict[Key, Window] = {}
        self._announced: dict[tuple[str, str, str], None] = {}
        self._agenda: dict[str, Agenda] = {}
        self._free: dict[str, tuple[float, float]] = {}  # by channel: when it is free again, and the pause until then
        self._delivered: list[tuple[LeasedDelivery, dict[str, str]]] = []
        self._scanned = float("-inf")

    def expects_digest(self, operation: str) -> bool:
        """Return whether a digest is on the agenda: it reports further failures without waking the thread."""
        agenda = self._agenda.get(operation)
        return agenda is not None and agenda.digest is not None

    def is_open(self, operation: str) -> bool:
        """Read whether any incident of an operation is open."""
        self._agenda[operation] = agenda = self.outbox.refresh(operation, self._channels())
        return agenda.is_open

    def run(self, until: float) -> None:
        """Send what is due, until a time on the monotonic clock.

        Raises:
            Exception: the store's, if it does not answer. The next round continues from there.
        """
        self._mark_delivered()
        self._scan()
        real, now = self.outbox.real_now(), self.outbox.states.now()
        for operation, agenda in self._agenda.items():
            if _is_due(agenda.delivery, real) or _is_due(agenda.digest, now):
                self.touch(operation)
        while self.touched and time.monotonic() < until:
            operation, _ = self.touched.popitem()
            try:
                self._work_through(operation, until)
            except BaseException:
                self.touch(operation)
                raise

    def touch(self, operation: str) -> None:
        """Work through this operation first in the next round."""
        self.touched.pop(operation, None)
        self.touched[operation] = None

    def recheck(self) -> None:
        """Have the next round read every operation with deliveries: other processes may have sent them."""
        self.touched.update({name: None for name, agenda in self._agenda.items() if agenda.delivery is not None})

    def next_delivery(self) -> float | None:
        """Return the seconds until a delivery can be sent; None if there is none."""
        if self.touched:
            return 0.0
        times = [agenda.delivery for agenda in self._agenda.values() if agenda.delivery is not None]
        return max(0.0, min(times) - self.outbox.real_now()) if times else None

    @property
    def others_send(self) -> bool:
        """Whether another process was sending a delivery when this was last read."""
        return any(agenda.is_leased for agenda in self._agenda.values())

    @property
    def digest_is_due(self) -> bool:
        """Whether a digest is due, so that all failures known here are to be recorded first."""
        now = self.outbox.states.now()
        return any(_is_due(agenda.digest, now) for agenda in self._agenda.values())

    def waits(self) -> tuple[float | None, ...]:
        """Return the seconds until counts are to be recorded, and until a digest is due; None if neither."""
        times = [agenda.digest for agenda in self._agenda.values() if agenda.digest is not None]
        return self.buffer.wait, max(0.0, min(times) - self.outbox.states.now()) if times else None

    def note_success(self, operation: str) -> None:
        """Note that a call of the operation succeeded."""
        for (name, _, _), window in list(self.windows.items()):
            window.succeeded = window.succeeded or name == operation

    def remember(self, key: Key, window: Window) -> None:
        """Remember an incident's window."""
        if len(self.windows) >= _ROOM:
            self.windows.clear()
        self.windows[key] = window

    def is_new_to(self, run: str, operation: str, fingerprint: str) -> bool:
        """Return whether this is the first call for this run and incident."""
        key = (run, operation, fingerprint)
        if key in self._announced:
            return False
        if len(self._announced) >= _ROOM:
            self._announced.clear()
        self._announced[key] = None
        return True

    def _work_through(self, operation: str, until: float) -> None:
        while True:
            agenda = self.outbox.refresh(operation, self._channels())
            if agenda == _NOTHING:
                self._agenda.pop(operation, None)
            else:
                self._agenda[operation] = agenda
            if not agenda.channels or time.monotonic() >= until:
                return
            channel = agenda.channels[0]
            wait = self.outbox.reserve(channel)
            if wait > 0:
                self._free[channel] = self.outbox.real_now() + wait, wait
                continue
            leased = self.outbox.lease(operation, channel, settings.current.notify_deadline + _GRACE)
            if leased is not None:
                self._send(leased, until)

    def _send(self, leased: LeasedDelivery, until: float) -> None:
        name = leased.delivery.channel
        channel = registry.channel(name)
        assert channel is not None  # noqa: S101  # only deliveries to registered channels are leased
        within = max(0.01, min(settings.current.notify_deadline, until - time.monotonic()))
        try:
            message = message_of(*leased)
            thread = deliver(channel, message, within)
        except Exception as error:
            self.failing.add(name)
            self._refused(leased, error)
        else:
            self.failing.discard(name)
            self._delivered.append((leased, thread))
            self._mark_delivered()
            bus.emit(
                NotifySent(
                    operation=leased.operation,
                    run=message.run,
                    attempt=leased.delivery.tries,
                    channel=name,
                    occasion=message.occasion,
                    key=message.key,
                )
            )

    def _mark_delivered(self) -> None:
        """Mark what was delivered. If the store is away this is repeated; the lease keeps it from being sent again."""
        while self._delivered:
            self.outbox.mark_delivered(*self._delivered[0])
            del self._delivered[0]

    def _refused(self, leased: LeasedDelivery, error: Exception) -> None:
        delivery, problem = leased.delivery, describe(error)
        now = self.outbox.real_now()
        is_transient = classify(error) in RETRIED_BY_DEFAULT
        failures = 0
        if is_transient:
            backoff = self.outbox.back_off(delivery.channel, retry_after(error), problem)
            due, failures = backoff.next, backoff.failures
            self._free[delivery.channel] = due, due - now
        else:
            due = now + min(_FIRST_PAUSE * 2.0 ** (delivery.tries - 1), _LAST_PAUSE)
        is_too_old = self.outbox.states.now() - delivery.created > _TOO_OLD
        dead = is_too_old or (not is_transient and delivery.tries >= _MOST_REFUSALS)
        use_fallback = dead or not is_transient or failures >= _FALLBACK_AFTER
        self.outbox.mark_refused(leased, problem, due, dead=dead, use_fallback=use_fallback)
        bus.emit(
            NotifyFailed(
                operation=leased.operation,
                run=leased.incident.facts.get("run", {}),
                attempt=delivery.tries,
                channel=delivery.channel,
                **{**fields_of(error), "message": problem},
                retry_in=0.0 if dead else max(due - now, 0.1),
                key=leased.incident.key(delivery),
            )
        )

    def _channels(self) -> dict[str, float]:
        """Return the channels that can be sent to, each with the time from which on it is free."""
        now, skipped = self.outbox.real_now(), self.failing if self.skips_failing else set()
        return {
            name: clamped(free, now, pause)
            for name in list(registry.names())
            for free, pause in [self._free.get(name, (0.0, 0.0))]
            if name not in skipped and gate.takes(registry.channel(name))
        }

    def _scan(self) -> None:
        """Look for what other processes left behind when they were killed or ended."""
        if time.monotonic() - self._scanned < _SCAN:
            return
        self.touched = {**dict.fromkeys(self.outbox.operations()), **self.touched}  # this process's own come first
        self._scanned = time.monotonic()


_NOTHING = Agenda(None, None, is_open=False)


def _is_due(at: float | None, now: float) -> bool:
    return at is not None and at <= now


def deliver(channel: Channel, message: Message, within: float) -> dict[str, str]:
    """Send `message` once, and return how to find it again.

    It is sent in a separate thread, as a server that sends a byte a second satisfies every socket timeout. A thread
    that is abandoned may still succeed; the next attempt sends the same key.

    Raises:
        TimeoutError: it took longer than `within` seconds.
        Exception: the channel's own.
    """
    results: list[Mapping[str, str] | Exception | None] = []

    def send() -> None:
        try:
            results.append(channel.send(message, within=within))
        except Exception as error:
            results.append(error)

    _call_aside(send, within)
    if not results:
        raise TimeoutError(f"not delivered within {within:.3g} s")
    if isinstance(results[0], Exception):
        raise results[0]
    return dict(results[0] or {})


def _call_aside(work: Callable[[], None], seconds: float) -> None:
    def done() -> Ok[None]:
        work()
        return Ok(None)

    try:
        thread = threading.Thread(target=work, name="resilient:notify:send", daemon=True)
        thread.start()
    except RuntimeError:  # the interpreter is shutting down, and starts no more threads
        if signals_work_here():
            by_signal(done, seconds)
        else:
            work()
    else:
        thread.join(seconds)
