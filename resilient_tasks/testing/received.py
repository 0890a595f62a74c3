"""Assertions about the messages that a fake server received, with errors that say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from resilient_tasks.alerts.outbox import Outbox, incident_store
from resilient_tasks.core.wording import named_few, number_of

T = TypeVar("T")


class Verdict:
    """True or false, with a reason that a failed assertion shows."""

    def __init__(self, reason: str) -> None:
        """Make a false verdict for a reason; without one, a true verdict."""
        self.reason: str = reason

    def __bool__(self) -> bool:
        return not self.reason

    def __repr__(self) -> str:
        return f"False: {self.reason}" if self.reason else "True"


def only(messages: Sequence[T], containing: str, text_of: Callable[[T], str]) -> T:
    """Return the only message that contains a text.

    Raises:
        AssertionError: there is none, or there are several.
    """
    found = [message for message in messages if containing in text_of(message)]
    if len(found) == 1:
        return found[0]
    texts = named_few([repr(text_of(message)) for message in messages], 5)
    asked = f" containing {containing!r}" if containing else ""
    received = f"received: {texts}" if messages else "nothing was received"
    parts = [f"{number_of(len(found), 'message')}{asked}, not one", received, unsent()]
    raise AssertionError("; ".join(filter(None, parts)))


def unsent() -> str:
    """Return a sentence about the messages that wait to be sent; empty if none does."""
    outbox = Outbox(incident_store.states())
    incidents = (one for operation in outbox.operations() for one in outbox.incidents(operation).all)
    waiting = sum(len(incident.deliveries) for incident in incidents)
    return f"{number_of(waiting, 'message')} not sent yet: call flush_messages() first" if waiting else ""
