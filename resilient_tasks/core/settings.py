"""Settings of the process: from `configure(...)`, else from `RESILIENT_TASKS_*` in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import checks
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
        notify_deadline: seconds that one message may take, from the failure to the channel's answer.
        notify_cooldown: seconds in which failures like the first are counted instead of sent.
    """

    enabled: bool = True
    quarantine: str = "quarantine"
    store: Any = "memory:"
    store_timeout: float = 0.05
    store_staleness: float = 0.2
    notify_deadline: float = 10.0
    notify_cooldown: float = 300.0


def _from_environment() -> Settings:
    given = {part.name: os.environ.get(_PREFIX + part.name.upper()) for part in fields(Settings)}
    defaults = Settings()
    changes: dict[str, Any] = {
        name: _parse(name, text, type(getattr(defaults, name))) for name, text in given.items() if text
    }
    return replace(defaults, **changes)


def _parse(name: str, text: str, form: type) -> bool | float | str:
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
    notify_deadline: float | None = None,
    notify_cooldown: float | None = None,
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
        notify_deadline: seconds that one message may take.
        notify_cooldown: seconds in which failures like the first are counted instead of sent.

    Raises:
        PolicyError: `store` names no store, or the library that it needs is not installed.
    """
    global current  # noqa: PLW0603  # one set of settings a process
    if store_timeout is not None:
        checks.positive_seconds(store_timeout, "configure(store_timeout=...)")
    if store is not None:
        from resilient_tasks.core.store import opened_by  # noqa: PLC0415  # which reads these settings

        opened_by(store, current.store_timeout)  # not connected yet: it is refused here, if it cannot be
    changes: dict[str, Any] = {
        "enabled": enabled,
        "quarantine": quarantine,
        "store": store,
        "store_timeout": store_timeout,
        "store_staleness": store_staleness,
        "notify_deadline": notify_deadline,
        "notify_cooldown": notify_cooldown,
    }
    current = replace(current, **{name: value for name, value in changes.items() if value is not None})
    if isinstance(store, str):
        os.environ[f"{_PREFIX}STORE"] = store
    return current
