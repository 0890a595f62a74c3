"""A round: everything that one outbox has to say now is delivered, each letter by one process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resilient_tasks.core import real_time as time
from resilient_tasks.core import settings
from resilient_tasks.core.events import NotifyFailed, NotifySent, bus
from resilient_tasks.core.failures import classify, describe, fields_of, retry_after
from resilient_tasks.core.kinds import RETRIED_BY_DEFAULT
from resilient_tasks.machines.pace import bounded
from resilient_tasks.notify import gate, registry
from resilient_tasks.notify.delivery import deliver
from resilient_tasks.notify.facts import message_of
from resilient_tasks.notify.outbox import Agenda, Leased, Outbox
from resilient_tasks.notify.pending import Key, Pending

#: Seconds after its deadline at which a letter whose sender has died is anybody's again.
_GRACE = 5.0
#: Seconds between two looks at what others have left behind.
_SCAN = 60.0
#: Incidents whose windows are remembered.
_ROOM = 1000
#: A letter that is refused for good is tried so often, first after so many seconds, then ever more rarely.
_MOST_REFUSALS, _FIRST_PAUSE, _LAST_PAUSE = 10, 30.0, 3600.0
#: A letter that nobody could be told of for so long (seconds) is given up.
_TOO_OLD = 7 * 86400.0
#: After so many failures in a row of a channel that will be tried again, the fallback is told too.
_FALLBACK_AFTER = 3


@dataclass(slots=True)
class Window:
    """What this process knows of an incident: whether a failure is more of the same, or news.

    Attributes:
        until: before this time, on the clock in use, more of the same is counted only.
        cooldown: a failure so many seconds after the last one is news.
        untold: failures that no message tells of yet, as far as is known.
        last: when the last one failed.
        over: it went well since then, so the incident may be over.
    """

    until: float
    cooldown: float
    untold: int
    last: float
    over: bool = False

    def takes(self, now: float) -> bool:
        """Tell whether a failure now is more of the same, and count it if it is."""
        if now >= self.until and (self.over or now - self.last >= self.cooldown):
            return False
        self.last, self.over = now, False
        self.untold += 1
        return True


class Rounds:
    """Goes through what an outbox holds, and keeps an agenda, so as not to ask for what cannot be there.

    Attributes:
        outbox: what it goes through.
        touched: operations to look at in the next round, the last one first, and before what others have left.
        failing: channels that could not be reached when they were tried last.
        pending: failures that the outbox is yet to be told of.
        windows: by incident, until when more of the same is counted only, on the clock in use, and how many no message
            tells of yet.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.touched: dict[str, None] = {}
        self.failing: set[str] = set()
        self.pending = Pending()
        self.windows: dict[Key, Window] = {}
        self._found: dict[str, None] = {}
        self._heard: dict[tuple[str, str, str], None] = {}
        self._agenda: dict[str, Agenda] = {}
        self._free: dict[str, tuple[float, float]] = {}  # until when a channel is left alone, and for how long
        self._leased: Leased | None = None
        self._delivered: list[tuple[Leased, dict[str, str]]] = []
        self._scanned = float("-inf")

    def expects_a_digest_of(self, operation: str) -> bool:
        """Whether what is counted now will be told without anybody being woken for it."""
        agenda = self._agenda.get(operation)
        return agenda is not None and agenda.window is not None

    def is_open(self, operation: str) -> bool:
        """Look whether any incident of an operation is open."""
        self._agenda[operation] = found = self.outbox.look(operation, self._channels(()))
        return found.open

    def go(self, until: float, leave_out: Iterable[str] = ()) -> None:
        """Deliver what is due.

        Args:
            until: when to stop, on the monotonic clock.
            leave_out: channels that are not tried.

        Raises:
            Exception: that of the store, if it does not answer. The next round goes on from there.
        """
        self._tell_what_was_delivered()
        self._go_on_with_what_was_leased(until)
        self._scan()
        real, now = self.outbox.real(), self.outbox.states.now()
        for operation, agenda in self._agenda.items():
            if _is_due(agenda.letter, real) or _is_due(agenda.window, now):
                self.touched[operation] = None
        while (self.touched or self._found) and time.monotonic() < until:
            operation, _ = (self.touched or self._found).popitem()
            try:
                self._work_off(operation, until, tuple(leave_out))
            except BaseException:
                self.touched[operation] = None
                raise

    def look_again(self) -> None:
        """Look in the next round at every operation that has letters: another process may have sent them."""
        self.touched.update({name: None for name, agenda in self._agenda.items() if agenda.letter is not None})

    def next_letter(self, leave_out: Iterable[str] = ()) -> float | None:
        """Return the seconds until a letter can be sent; None: there is none."""
        if self.touched or self._found:
            return 0.0
        left_out = set(leave_out)
        times = [agenda.letter for agenda in self._agenda.values() if agenda.letter is not None]
        if left_out and times:
            looked = (self.outbox.look(operation, self._channels(left_out)) for operation in list(self._agenda))
            times = [agenda.letter for agenda in looked if agenda.letter is not None]
        return max(0.0, min(times) - self.outbox.real()) if times else None

    @property
    def others_send(self) -> bool:
        """Whether another process was sending a letter when it was looked at last."""
        return any(agenda.in_hand for agenda in self._agenda.values())

    @property
    def owes_a_digest(self) -> bool:
        """Whether one is due now: all that is known is to be in it."""
        now = self.outbox.states.now()
        return any(_is_due(agenda.window, now) for agenda in self._agenda.values())

    def waits(self) -> tuple[float | None, ...]:
        """Return the seconds until counts are to be told, and until a digest is due; None: none is."""
        times = [agenda.window for agenda in self._agenda.values() if agenda.window is not None]
        return self.pending.wait, max(0.0, min(times) - self.outbox.states.now()) if times else None

    def may_be_over(self, operation: str) -> None:
        """Take note that the operation went well."""
        for (name, _, _), window in list(self.windows.items()):
            window.over = window.over or name == operation

    def keep_window(self, key: Key, window: Window) -> None:
        """Remember until when more of the same is counted only."""
        if len(self.windows) >= _ROOM:
            self.windows.clear()
        self.windows[key] = window

    def is_news(self, run: str, operation: str, fingerprint: str) -> bool:
        """Tell, once for each run and incident, that it had not been asked for."""
        key = (run, operation, fingerprint)
        if key in self._heard:
            return False
        if len(self._heard) >= _ROOM:
            self._heard.clear()
        self._heard[key] = None
        return True

    def _work_off(self, operation: str, until: float, leave_out: tuple[str, ...]) -> None:
        while True:
            channels = self._channels(leave_out)
            agenda = self.outbox.look(operation, channels)
            self._note(operation, agenda)
            if not _is_due(agenda.letter, self.outbox.real()) or time.monotonic() >= until:
                return
            leased = self.outbox.lease(operation, channels, settings.current.notify_deadline + _GRACE)
            if leased is not None:
                self._leased = leased
                self._send_in_turn(leased, until)

    def _send_in_turn(self, leased: Leased, until: float) -> None:
        wait = self.outbox.take_turn(leased.letter.channel)
        if wait > 0:
            self.outbox.give_back(leased)
            self._free[leased.letter.channel] = self.outbox.real() + wait, wait
        else:
            self._send(leased, until)
        self._leased = None

    def _go_on_with_what_was_leased(self, until: float) -> None:
        """Send what could not be sent because the store was gone just then: nobody else may, for a while."""
        leased, self._leased = self._leased, None
        if leased is not None and self.outbox.real() < leased.letter.leased:
            self._leased = leased
            self._send_in_turn(leased, until)

    def _send(self, leased: Leased, until: float) -> None:
        name = leased.letter.channel
        channel = registry.channel(name)
        assert channel is not None  # noqa: S101  # it was leased by the names of the known ones
        within = max(0.01, min(settings.current.notify_deadline, until - time.monotonic()))
        try:
            message = message_of(*leased)
            thread = deliver(channel, message, within)
        except Exception as error:
            self.failing.add(name)
            self._refused(leased, error)
        else:
            self.failing.discard(name)
            self._leased = None
            self._delivered.append((leased, thread))
            self._tell_what_was_delivered()
            bus.emit(
                NotifySent(
                    operation=leased.operation,
                    run=message.run,
                    attempt=leased.letter.tries,
                    channel=name,
                    occasion=message.occasion,
                    key=message.key,
                )
            )

    def _tell_what_was_delivered(self) -> None:
        """A store that is gone just now is told later: until then the letter is leased, and not sent again."""
        while self._delivered:
            self.outbox.delivered(*self._delivered[0])
            del self._delivered[0]

    def _refused(self, leased: Leased, error: Exception) -> None:
        letter, problem = leased.letter, describe(error)
        now = self.outbox.real()
        passes = classify(error) in RETRIED_BY_DEFAULT
        failures = 0
        if passes:
            pace = self.outbox.missed(letter.channel, retry_after(error), problem)
            due, failures = pace.next, pace.failures
            self._free[letter.channel] = due, due - now
        else:
            due = now + min(_FIRST_PAUSE * 2.0 ** (letter.tries - 1), _LAST_PAUSE)
        dead = self.outbox.states.now() - letter.made > _TOO_OLD or (not passes and letter.tries >= _MOST_REFUSALS)
        hand_on = dead or not passes or failures >= _FALLBACK_AFTER
        self.outbox.refused(leased, problem, due, dead=dead, hand_on=hand_on)
        bus.emit(
            NotifyFailed(
                operation=leased.operation,
                run=leased.incident.facts.get("run", {}),
                attempt=letter.tries,
                channel=letter.channel,
                **{**fields_of(error), "message": problem},
                retry_in=0.0 if dead else max(due - now, 0.1),
                key=leased.incident.key(letter),
            )
        )

    def _channels(self, leave_out: Iterable[str]) -> dict[str, float]:
        """Return the channels that can be sent to, each with the time from which on it can be."""
        left_out = set(leave_out)
        known = [name for name in list(registry.names()) if name not in left_out]
        now = self.outbox.real()
        return {
            name: bounded(free, now, pause)
            for name in known
            for free, pause in [self._free.get(name, (0.0, 0.0))]
            if gate.takes(registry.channel(name))
        }

    def _note(self, operation: str, agenda: Agenda) -> None:
        if agenda == _NOTHING:
            self._agenda.pop(operation, None)
        else:
            self._agenda[operation] = agenda

    def _scan(self) -> None:
        """Look for what others have left behind, a process that was killed or one that has ended."""
        if time.monotonic() - self._scanned < _SCAN:
            return
        self._found.update(dict.fromkeys(self.outbox.operations()))
        self._scanned = time.monotonic()


_NOTHING = Agenda(None, None, open=False)


def _is_due(at: float | None, now: float) -> bool:
    return at is not None and at <= now
