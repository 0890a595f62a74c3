"""Change numbers of a policy while workers run: what may be changed, who does it, and when."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping

from resilient_tasks.core import settings
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import clock
from resilient_tasks.core.parameters import words
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.client import States
from resilient_tasks.state.failover import StoreUnavailable

#: The longest text that names who has changed numbers.
_LONGEST = 100


def merged(before: Changes | None, numbers: Mapping[str, float], by: str) -> Changes:
    """Return `before` with further numbers, changed now."""
    known = {} if before is None else before.numbers
    return Changes({**known, **numbers}, by[:_LONGEST], clock.wall())


def name_of(by: str | None) -> str:
    """Return who changes numbers: `by`, or this user's name and machine, as `anna@worker-3`.

    Raises:
        PolicyError: `by` is no text.
    """
    if by is not None and not isinstance(by, str):
        raise PolicyError(f'set_numbers(by=...) is a name, such as "anna", not {by!r}')
    return by or _this_user()


def _this_user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a number without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def check(given: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    """Raise `PolicyError` unless all numbers are among those that may be changed, and are given.

    Args:
        given: the numbers by name.
        known: the names of those that may be changed.
        where: what is changed, for the message.
    """
    if not given:
        raise PolicyError(f"{where} needs a number: {', '.join(f'{name}=...' for name in known)}")
    for name in given:
        if name not in known:
            meant = words.did_you_mean(name, known).replace("=", "")
            there = f"{'There' if meant else 'there'} are {', '.join(known)}"
            raise PolicyError(f"{where} has no number {name!r}{meant or ':'} {there}")
        if given[name] is None:
            raise PolicyError(f"{name}= of {where} is a number, not None: reset_numbers() uses those of the code again")


def settle(states: States, wanted: Mapping[str, float] | None, found: Changes | None) -> None:
    """Make sure that changed numbers are in the store, and have every call of this process look at its state again.

    Args:
        states: where they are kept.
        wanted: the numbers that were set; None: they were reset.
        found: the changes, as they were read again.

    Raises:
        StoreUnavailable: the store was away or busy, so they are not there.
    """
    there = {} if found is None else found.numbers
    is_there = not there if wanted is None else wanted.items() <= there.items()
    if not is_there or not states.is_available:
        msg = f"{states.name} does not answer, or is busy: the numbers may be as before. Look at them, and try again"
        raise StoreUnavailable(msg)
    if states.memory is not None:  # fast paths have copied numbers
        settings.renew()
