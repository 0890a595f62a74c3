"""Settings of the process: from `configure(...)`, else from `RESILIENT_TASKS_*` in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import checks, registered
from resilient_tasks.core.errors import PolicyError

if TYPE_CHECKING:
    from resilient_tasks.core.store import StateStore

_PREFIX = "RESILIENT_TASKS_"
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every decorated function of this process.

    Attributes:
        enabled: False calls every decorated function bare, with no policy at all; `outcome(...)` then raises too.
        quarantine: the folder for quarantined rows, where `Validate(quarantine=...)` names none.
        store: where state lives that calls share: `memory:` (this process), `sqlite:///path` (this machine) or
            `redis://host:port/0` (all machines); or a `StateStore`.
        store_timeout: seconds after which an unanswered question to the store is answered without it.
        store_staleness: seconds for which a process may go by what it last read of a state that was well.
        incidents: where incidents and unsent messages are kept, named as `store` is; empty: in the store if that is
            shared, else in the file `incidents.db` in the folder `RESILIENT_TASKS_HOME` (`~/.resilient_tasks`).
        channels: False sends no message to any channel, and keeps no incidents. A few addresses, such as
            `("127.0.0.1:8025",)`: only to servers there; so the processes that a test starts reach its fake servers.
        notify_deadline: seconds that one try to deliver a message may take.
        notify_cooldown: seconds in which failures like the first are counted instead of sent.
        secrets: values, and patterns of values, that are blotted out wherever the library writes.
    """

    enabled: bool = True
    quarantine: str = "quarantine"
    store: Any = "memory:"
    store_timeout: float = 0.05
    store_staleness: float = 0.2
    incidents: Any = ""
    channels: bool | tuple[str, ...] = True
    notify_deadline: float = 10.0
    notify_cooldown: float = 300.0
    secrets: tuple[registered.Secret, ...] = field(default=(), repr=False)


def _from_environment() -> Settings:
    given = {part.name: os.environ.get(_PREFIX + part.name.upper()) for part in fields(Settings)}
    defaults = Settings()
    changes: dict[str, Any] = {
        name: _parse(name, text, type(getattr(defaults, name)))
        for name, text in given.items()
        if text and name != "secrets"
    }
    return replace(defaults, **changes, secrets=registered.from_environment())


def _parse(name: str, text: str, form: type) -> bool | float | str | tuple[str, ...]:
    if name == "channels" and ":" in text:
        return tuple(part.strip() for part in text.split(","))
    if form is bool:
        word = text.strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
        msg = f"{_PREFIX}{name.upper()} must be one of true, false, 1, 0; it is {text!r}"
        raise PolicyError(msg)
    if form is float:
        try:
            return float(text)
        except ValueError:
            msg = f"{_PREFIX}{name.upper()} must be a number of seconds; it is {text!r}"
            raise PolicyError(msg) from None
    return text


#: The settings in force. Read it at call time, never at import.
current: Settings = _from_environment()


def configure(
    *,
    enabled: bool | None = None,
    quarantine: str | None = None,
    store: StateStore | str | None = None,
    store_timeout: float | None = None,
    store_staleness: float | None = None,
    incidents: StateStore | str | None = None,
    channels: bool | None = None,
    notify_deadline: float | None = None,
    notify_cooldown: float | None = None,
    secrets: Iterable[registered.Secret] | None = None,
) -> Settings:
    """Change settings of this process, and return those now in force. What is not named stays.

    Args:
        enabled: False switches every policy off: decorated functions run bare, and an error raises even where it would
            have been a `Failed` to match. For tests, and to compare.
        quarantine: folder for quarantined rows.
        store: where state lives that calls share. A URL is put into the environment too, so that processes which this
            one starts share the same state.
        store_timeout: seconds after which an unanswered question to the store is answered without it.
        store_staleness: seconds for which a process may go by what it last read of a state that was well.
        incidents: where incidents and unsent messages are kept. A URL is put into the environment too, as that of the
            store is.
        channels: False sends no message to any channel, and keeps no incidents: the event `notify.suppressed` tells of
            each failure that people would have heard of. For tests. It is put into the environment too, so that
            processes which this one starts do the same.
        notify_deadline: seconds that one try to deliver a message may take.
        notify_cooldown: seconds in which failures like the first are counted instead of sent.
        secrets: texts of at least 4 characters, and compiled patterns, to blot out wherever the library writes, besides
            those that are named already, and the values of the variables that `RESILIENT_TASKS_SECRETS` names.

    Raises:
        PolicyError: `store` or `incidents` names no store, or the library that it needs is not installed; `channels` is
            neither True nor False; or one of `secrets` is too short, or no text.
    """
    global current  # noqa: PLW0603  # one set of settings a process
    if store_timeout is not None:
        checks.positive_seconds(store_timeout, "configure(store_timeout=...)")
    if channels is not None and not isinstance(channels, bool):
        msg = f"configure(channels=...) is True or False, not {channels!r}"
        raise PolicyError(msg)
    for where in (store, incidents or None):
        if where is not None:
            from resilient_tasks.core.store import opened_by  # noqa: PLC0415  # which reads these settings

            opened_by(where, current.store_timeout)  # not connected yet: it is refused here, if it cannot be
    changes: dict[str, Any] = {
        "enabled": enabled,
        "quarantine": quarantine,
        "store": store,
        "store_timeout": store_timeout,
        "store_staleness": store_staleness,
        "incidents": incidents,
        "channels": channels,
        "notify_deadline": notify_deadline,
        "notify_cooldown": notify_cooldown,
        "secrets": registered.added(current.secrets, () if secrets is None else secrets),
    }
    current = replace(current, **{name: value for name, value in changes.items() if value is not None})
    for name, url in (("STORE", store), ("INCIDENTS", incidents)):
        if isinstance(url, str):
            os.environ[_PREFIX + name] = url
    if channels is not None:
        os.environ[_PREFIX + "CHANNELS"] = "true" if channels else "false"
    return current
