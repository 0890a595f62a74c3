"""Settings of the process: from `configure(...)`, else from `RESILIENT_TASKS_*` in the environment."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from resilient_tasks import core, redaction
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.parameters.arguments import answering

if TYPE_CHECKING:
    from resilient_tasks.core.parameters.durations import Duration
    from resilient_tasks.core.store import StateStore
    from resilient_tasks.redaction.registered import Secret

_PREFIX = "RESILIENT_TASKS_"
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of all decorated functions of this process.

    Attributes:
        enabled: False calls every decorated function without any policy; `outcome(...)` then raises too.
        quarantine: the folder for quarantined rows if `Validate(quarantine=...)` names none.
        last_good: the folder for last good results if `LastGood(folder=...)` names none; empty: `last_good` in the
            folder `RESILIENT_TASKS_HOME` (`~/.resilient_tasks`).
        store: the store of shared state: `memory:` (this process), `sqlite:///path` (this machine) or
            `redis://host:port/0` (all machines); or a `StateStore`.
        store_timeout: seconds to wait for the store before a call goes on without it.
        store_staleness: seconds for which a process may use a cached healthy state.
        incidents: the store of incidents and unsent messages, named as `store` is; empty: the store if that is shared,
            otherwise the file `incidents.db` in the folder `RESILIENT_TASKS_HOME` (`~/.resilient_tasks`).
        channels: False sends no messages and keeps no incidents. Addresses such as `("127.0.0.1:8025",)` send messages
            only to servers there, so that processes started by a test reach its fake servers.
        notify_deadline: seconds for one attempt to deliver a message.
        notify_cooldown: seconds in which further failures like the first are counted instead of sent.
        longest_retry_after: the longest wait, in seconds, if a service asks to wait.
        events: where events of flow runs are written, as JSON lines: True means `runs` in the folder
            `RESILIENT_TASKS_HOME` (`~/.resilient_tasks`), any other text is a folder, and False writes none. `"all"`
            writes those of calls outside of runs, too.
        prometheus: True counts events in Prometheus metrics, see `observe.prometheus`.
        secrets: values, and patterns of values, that are redacted in everything that the library writes.
    """

    enabled: bool = True
    quarantine: str = "quarantine"
    last_good: str = ""
    store: Any = "memory:"
    store_timeout: float = 0.05
    store_staleness: float = 0.2
    incidents: Any = ""
    channels: bool | tuple[str, ...] = True
    notify_deadline: float = 10.0
    notify_cooldown: float = 300.0
    longest_retry_after: float = 3600.0
    events: bool | str = True
    prometheus: bool = False
    secrets: tuple[Secret, ...] = field(default=(), repr=False)


#: Called with the settings after each change, by what acts on one.
listeners: list[Callable[[Settings], None]] = []

#: Variables with our prefix that are not settings.
_MORE_VARIABLES = ("HOME", "CONFIG", "OTEL")
#: What the variables that change policies of a file begin with. They are checked when such a policy is used.
_POLICIES = "POLICIES__"
_HOW = f"write {_PREFIX}{_POLICIES}<NAME>__<KEYWORD>__<ARGUMENT>, with two underscores between them"
#: Settings that may be 0 seconds.
_ZERO = ("store_staleness", "notify_cooldown", "longest_retry_after")


def _warn_about_unknown_variables() -> None:
    """Warn about variables with our prefix that set nothing, which are usually misspelt."""
    known = [*(part.name for part in fields(Settings)), *map(str.lower, _MORE_VARIABLES)]
    for variable in sorted(os.environ):
        name = variable.removeprefix(_PREFIX).removeprefix("RESILIENT_TASK_").lower()
        ours = variable.startswith((_PREFIX, "RESILIENT_TASK_"))
        if ours and name.startswith("polic"):
            if not _names_a_part(variable):
                warnings.warn(f"{variable} in the environment sets nothing: {_HOW}", stacklevel=2)
        elif ours and (name not in known or not variable.startswith(_PREFIX)):
            meant = core.parameters.words.did_you_mean(name, known).replace("=", "").upper()
            meant = meant.replace("DID YOU MEAN ", f"did you mean {_PREFIX}")
            all_of = ", ".join(_PREFIX + one.upper() for one in known)
            warnings.warn(f"{variable} in the environment sets nothing{meant or f': there are {all_of}'}", stacklevel=2)


def _names_a_part(variable: str) -> bool:
    """Return whether a variable names a policy and its keyword."""
    _, found, rest = variable.partition(_PREFIX + _POLICIES)
    return bool(found) and all(rest.split("__")) and "__" in rest


def _from_environment() -> Settings:
    _warn_about_unknown_variables()
    given = {part.name: os.environ.get(_PREFIX + part.name.upper()) for part in fields(Settings)}
    defaults = Settings()
    changes: dict[str, Any] = {
        name: _parse(name, text, type(getattr(defaults, name)))
        for name, text in given.items()
        if text and name != "secrets"
    }
    secrets = _secrets("from_environment") if _PREFIX + "SECRETS" in os.environ else ()
    return replace(defaults, **changes, secrets=secrets)


def _secrets(how: str, *given: Any) -> tuple[Secret, ...]:
    try:
        found: tuple[Secret, ...] = getattr(redaction.registered, how)(*given)
    except ValueError as error:
        raise PolicyError(str(error)) from None
    return found


def _parse(name: str, text: str, form: type) -> bool | float | str | tuple[str, ...]:
    if name == "channels" and ":" in text:
        return tuple(part.strip() for part in text.split(","))
    if form is bool:
        word = text.strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
        if name == "events":
            return text
        msg = f"{_PREFIX}{name.upper()} must be one of true, false, 1, 0; it is {text!r}"
        raise PolicyError(msg)
    if form is float:
        return core.parameters.durations.seconds(text, _PREFIX + name.upper(), zero=name in _ZERO, bare=1.0)
    return text


def from_environment_again() -> Settings:
    """Return the settings as the environment gives them now, and change nothing.

    Raises:
        PolicyError: a variable has a wrong value.
    """
    return _from_environment()


#: The settings in force. Read it at call time, never at import.
current: Settings = _from_environment()
redaction.configure(
    lambda: current.secrets,
    ResilienceError,
    lambda error: core.failures.kept_of(error),  # noqa: PLW0108  # it is imported when an error needs it
)


@answering("configure(enabled=False)", "enabled")
def configure(
    *,
    enabled: bool | None = None,
    quarantine: str | os.PathLike[str] | None = None,
    last_good: str | os.PathLike[str] | None = None,
    store: StateStore | str | None = None,
    store_timeout: Duration | None = None,
    store_staleness: Duration | None = None,
    incidents: StateStore | str | None = None,
    channels: bool | None = None,
    notify_deadline: Duration | None = None,
    notify_cooldown: Duration | None = None,
    longest_retry_after: Duration | None = None,
    events: bool | str | os.PathLike[str] | None = None,
    prometheus: bool | None = None,
    secrets: Iterable[Secret] | None = None,
) -> Settings:
    """Change settings of this process, and return the settings now in force. All others stay.

    Args:
        enabled: False switches every policy off: decorated functions run bare, and `outcome(...)` raises instead of
            returning a `Failed`. For tests and comparisons.
        quarantine: folder for quarantined rows.
        last_good: folder for last good results.
        store: the store of shared state. A URL is also put into the environment, so that child processes share the same
            state.
        store_timeout: seconds to wait for the store before a call goes on without it.
        store_staleness: seconds for which a process may use a cached healthy state.
        incidents: the store of incidents and unsent messages. A URL is also put into the environment.
        channels: False sends no messages and keeps no incidents: each failure that would have caused a message emits
            the event `notify.suppressed`. For tests. It is also put into the environment, for child processes.
        notify_deadline: seconds for one attempt to deliver a message.
        notify_cooldown: seconds in which further failures like the first are counted instead of sent.
        longest_retry_after: the longest wait, in seconds, if a service asks to wait.
        events: False writes no events of runs to files, a folder has them written there, and `"all"` writes those of
            calls outside of runs, too. It is also put into the environment, for child processes.
        prometheus: True counts the events of functions that are decorated, or loaded from a pickle, from now on. It is
            also put into the environment, for child processes. `observe.prometheus.install()` counts at once.
        secrets: texts of at least 4 characters, and compiled patterns, to redact in everything that the library writes.
            They add to the earlier ones and to the values of the variables that `RESILIENT_TASKS_SECRETS` names.

    Seconds may also be a text, such as `"200ms"` or `"5 min"`, or a `timedelta`; in the environment, a bare number
    means seconds.

    Raises:
        PolicyError: a value has the wrong type; `store` or `incidents` is not a known kind of store, or needs a library
            that is not installed; or one of `secrets` is too short, or neither a text nor a pattern.
    """
    global current  # noqa: PLW0603  # one set of settings per process
    for setting, answer in (("enabled", enabled), ("channels", channels), ("prometheus", prometheus)):
        if answer is not None and not isinstance(answer, bool):
            raise PolicyError(f"configure({setting}=...) is True or False, not {answer!r}")
    for setting, folder in (("quarantine", quarantine), ("last_good", last_good)):
        if folder is not None and not isinstance(folder, str | os.PathLike):
            raise PolicyError(f"configure({setting}=...) is a folder, as text or a path, or a URL, not {folder!r}")
    for setting, where in (("store", store), ("incidents", incidents or None)):
        if where is not None:
            _check_store(setting, where)
    changes: dict[str, Any] = {
        "enabled": enabled,
        "quarantine": None if quarantine is None else os.fspath(quarantine),
        "last_good": None if last_good is None else os.fspath(last_good),
        "store": store,
        "store_timeout": _seconds("store_timeout", store_timeout),
        "store_staleness": _seconds("store_staleness", store_staleness),
        "incidents": incidents,
        "channels": channels,
        "notify_deadline": _seconds("notify_deadline", notify_deadline),
        "notify_cooldown": _seconds("notify_cooldown", notify_cooldown),
        "longest_retry_after": _seconds("longest_retry_after", longest_retry_after),
        "events": None if events is None else _place_of_events(events),
        "prometheus": prometheus,
        "secrets": _secrets("added", current.secrets, () if secrets is None else secrets),
    }
    current = replace(current, **{name: value for name, value in changes.items() if value is not None})
    inherited = {"STORE": store, "INCIDENTS": incidents, "CHANNELS": channels, "PROMETHEUS": prometheus}
    for name, given in {**inherited, "EVENTS": changes["events"]}.items():
        if isinstance(given, str | bool):
            os.environ[_PREFIX + name] = given if isinstance(given, str) else str(given).lower()
    for listener in listeners:
        listener(current)
    return current


def renew() -> Settings:
    """Replace the settings by an equal object, which invalidates what was cached for the old one."""
    global current  # noqa: PLW0603  # as above
    current = replace(current)
    return current


def _seconds(name: str, given: Duration | None) -> float | None:
    return (
        None
        if given is None
        else core.parameters.durations.seconds(given, f"configure({name}=...)", zero=name in _ZERO)
    )


def _place_of_events(given: Any) -> bool | str:
    if isinstance(given, bool):
        return given
    place = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not place or not isinstance(place, str):
        raise PolicyError(f'configure(events=...) is True, False, "all" or a folder, as text or a path, not {given!r}')
    return place


def _check_store(setting: str, given: Any) -> None:
    from resilient_tasks.core.store import opened_by  # noqa: PLC0415  # which reads these settings

    if not isinstance(given, str):
        methods = [getattr(given, name, None) for name in ("connect", "now", "get", "swap", "keys", "close")]
        if isinstance(given, type) or not all(map(callable, methods)):
            msg = f"configure({setting}=...) is a URL such as 'sqlite:///states.db', or a StateStore, not {given!r}"
            raise PolicyError(msg)
    opened_by(given, current.store_timeout)  # it does not connect yet
