"""The bus that carries events to sinks."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from resilient_tasks import safely
from resilient_tasks.core import log_records
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events.event import Event
from resilient_tasks.core.events.sinks import SLOW, Sink, SinkEvent, Subscription, Wants, all_events
from resilient_tasks.core.execution import clock
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.wording import number_of

_logger = logging.getLogger("resilient_tasks")
log_records.install(_logger)


class OfLevel:
    """Wants events whose level is `enabled`, such as by `Logger.isEnabledFor`."""

    __slots__ = ("enabled",)

    def __init__(self, enabled: Callable[[int], bool]) -> None:
        self.enabled: Callable[[int], bool] = enabled

    def __call__(self, event: type[Event]) -> bool:
        return self.enabled(event.loudest)


class Several:
    """Classes of events, for `Bus.wants_any`."""

    __slots__ = ("classes", "loudest")

    def __init__(self, *classes: type[Event]) -> None:
        self.classes: tuple[type[Event], ...] = classes
        self.loudest: int = max(event.loudest for event in classes)


class _Active(threading.local):
    """The sinks that this thread is calling: an event emitted by a sink may reach another sink, which emits one."""

    def __init__(self) -> None:
        self.sinks: list[Subscription | None] = []


_active = _Active()


class Bus:
    """Carries events to sinks, in the thread that emits them. A sink's error never reaches the call.

    A sink that fails or is slow is suspended for a while, see `sinks`. A sink does not receive the events that are
    emitted while this thread is calling it: it would call itself without end.

    Attributes:
        sinks: the sinks.
    """

    def __init__(self) -> None:
        self.sinks: tuple[Subscription, ...] = ()
        self._lost_before: Counter[str] = Counter()  # by sinks that are no longer subscribed

    def subscribe(
        self, sink: Sink, wants: Wants = all_events, *, name: str = "", essential: bool = False, slow: float = SLOW
    ) -> Callable[[], None]:
        """Add a sink, and return a function that removes it.

        Args:
            sink: is called with each event.
            wants: returns whether the sink receives events of a class. It is called for each event, so it has to be
                quick. Its errors count as the sink's.
            name: names the sink in events and metrics; default: the function's name.
            essential: never suspend it. Its errors are still logged and counted.
            slow: seconds; several calls in a row that take longer suspend it.

        Raises:
            PolicyError: the sink is no function of an event, or an async one, which nothing would await.
        """
        if not callable(sink) or not callable(wants):
            what = sink if not callable(sink) else wants
            raise PolicyError(f"a sink is a function of an event, and wants one of its class, not {safely.shown(what)}")
        if safely.or_none(callables.is_async)(sink):
            raise PolicyError(
                "a sink is called where the event is emitted, and nothing awaits it: write def, not async def"
            )
        mine = Subscription(sink, wants, name=name, essential=essential, slow=slow)
        self.sinks = (*self.sinks, mine)

        def unsubscribe() -> None:
            if mine in self.sinks:
                self.sinks = tuple(other for other in self.sinks if other is not mine)
                self._lost_before[mine.name] += mine.lost

        return unsubscribe

    @contextmanager
    def listening(self, sink: Sink) -> Iterator[None]:
        """Subscribe `sink`, which is never suspended, for the duration of the block."""
        unsubscribe = self.subscribe(sink, essential=True)
        try:
            yield
        finally:
            unsubscribe()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events sinks have lost, by name: those they failed to handle, and those while suspended."""
        lost = self._lost_before.copy()
        for one in self.sinks:
            lost[one.name] += one.lost
        return +lost

    def wants(self, event: type[Event]) -> bool:
        """Return whether any sink wants events of this class; otherwise none need be created."""
        for one in self.sinks:
            try:
                if one.wants is all_events or one.wants(event):
                    return True
            except Exception:  # it is called again with the event, and logged there
                return True
        return False

    def wants_any(self, events: Several) -> bool:
        """Return whether any sink wants events of any of these classes."""
        for one in self.sinks:
            if type(one.wants) is not OfLevel:
                return any(map(self.wants, events.classes))
            try:
                if one.wants.enabled(events.loudest):
                    return True
            except Exception:  # as above
                return True
        return False

    def emit(self, event: Event, *more: Sink) -> None:
        """Pass `event` to every sink that wants it, and to those in `more`."""
        if active := _active.sinks:
            self._emit_inside(event, active)
        else:
            notices, now = None, clock.present
            active.append(None)
            try:
                began = now()
                for one in self.sinks:
                    active[0] = one
                    if one.is_troubled:
                        notices = _add(notices, _hand_with_care(event, one))
                        began = now()
                        continue
                    try:
                        if one.wants is all_events or one.wants(type(event)):
                            one.sink(event)
                    except Exception as error:
                        notices = _add(notices, _failed(event, one, began, error))
                    if (ended := now()) - began > one.slow and not one.is_troubled:
                        notices = _add(notices, _returned(one, began))
                    began = ended
            finally:
                active.clear()
            if notices:
                self._report(notices)
        for sink in more:
            _hand(event, sink)

    def _emit_inside(self, event: Event, active: list[Subscription | None]) -> None:
        """As `emit`, while this thread is calling the sinks in `active`: they do not receive the event."""
        outer, notices = tuple(active), None
        active.append(None)
        try:
            for one in self.sinks:
                active[-1] = one
                notices = _add(notices, _hand_with_care(event, one, is_active=one in outer))
        finally:
            del active[len(outer) :]
        self._report(notices or ())

    def _report(self, notices: Sequence[SinkEvent]) -> None:
        for notice in notices:
            if self.wants(type(notice)):
                self.emit(notice)


def _hand(event: Event, sink: Sink) -> None:
    """Pass an event to a sink of one call, which is never suspended."""
    try:
        sink(event)
    except Exception as error:
        _log(Subscription(sink), event, error)


def _hand_with_care(event: Event, one: Subscription, *, is_active: bool = False) -> SinkEvent | None:
    """Pass an event to a sink that is in trouble, or inside another sink. Return the event about the sink, if any."""
    began, trial = clock.present(), False
    try:
        if not one.wants(type(event)):
            return None
        admitted = None if is_active else one.admit(began, as_trial=not isinstance(event, SinkEvent))
        if admitted is None:
            one.lose()
            return None
        trial = admitted
        one.sink(event)
    except Exception as error:
        return _failed(event, one, began, error, trial=trial)
    except BaseException:
        if trial:
            one.give_back_trial()
        raise
    return _returned(one, began, trial=trial)


def _returned(one: Subscription, began: float, *, trial: bool = False) -> SinkEvent | None:
    now = clock.present()
    return one.succeeded(now, now - began, trial=trial)


def _failed(
    event: Event, one: Subscription, began: float, error: Exception, *, trial: bool = False
) -> SinkEvent | None:
    now = clock.present()
    notice = one.failed(now, now - began, error, trial=trial)
    if notice is None and one.report_error:
        _log(one, event, error)
    return notice


def _add(notices: list[SinkEvent] | None, notice: SinkEvent | None) -> list[SinkEvent] | None:
    return notices if notice is None else [*(notices or ()), notice]


def _log(one: Subscription, event: Event, error: Exception) -> None:
    times = f" ({number_of(one.errors, 'error')} so far)" if one.errors > 1 else ""
    try:
        _logger.error("the sink %s failed on %s%s", one.name, event.name, times, exc_info=error)
    except Exception:  # the failed sink may be the log itself
        with contextlib.suppress(Exception):
            print(  # noqa: T201  # there is no log to write it to
                f"resilient_tasks: the sink {one.name} failed on {event.name} with {type(error).__name__}{times},"
                " and so does the log",
                file=sys.stderr,
            )


#: The one bus of this process.
bus: Bus = Bus()
