"""What a function finds in its process, as in its parent: paths, folder, environment, settings, log levels.

It is compared before every call, and sent if it has changed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from resilient_tasks.core import call as calls
from resilient_tasks.core import settings
from resilient_tasks.core.observing import Carrier
from resilient_tasks.subprocess import function_ref

#: Not the name of a logger: the level up to which all logging is disabled.
_DISABLED = "\0disabled"


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """A snapshot of a process, never changed: the same object means the same environment.

    `carrier` carries the context of a call, if there is an observer; its module is thus loaded before a limit counts.
    """

    path: list[str]
    folder: str | None
    variables: Mapping[bytes, bytes]
    settings: settings.Settings
    levels: Mapping[str, int]
    carrier: type[Carrier] | None = None

    def portable(self) -> Environment:
        """Return what of it can be sent: a store that is an object stays here."""
        here = self.settings
        stores: dict[str, Any] = {
            name: "memory:" for name in ("store", "incidents") if not isinstance(getattr(here, name), str)
        }
        return replace(self, settings=replace(here, **stores)) if stores else self

    def apply(self) -> None:
        """Make the environment of this process like this one."""
        sys.path[:] = self.path
        if self.folder is not None:
            with contextlib.suppress(OSError):  # deleted in the meantime
                os.chdir(self.folder)
        for gone in os.environb.keys() - self.variables.keys():
            del os.environb[gone]
        os.environb.update(self.variables)
        settings.current = self.settings
        for name, level in {**dict.fromkeys(_levels(), logging.NOTSET), **self.levels}.items():
            logging.disable(level) if name == _DISABLED else logging.getLogger(name).setLevel(level)


_last: Environment | None = None


def present() -> Environment:
    """Return the environment of this process: the same object as before, if nothing has changed."""
    global _last  # noqa: PLW0603  # one a process
    last, path, folder, variables = _last, _path(), _folder(), _variables()
    carrier = None if calls.observer is None else calls.observer.carrier_class
    if (
        last is None
        or last.settings is not settings.current
        or last.variables != variables
        or last.path != path
        or last.folder != folder
        or last.carrier is not carrier
        or not _levels_stand(last)
    ):
        _last = last = Environment(path, folder, {**variables}, settings.current, _levels(), carrier)
    return last


def _path() -> list[str]:
    return [*sys.path, *(root for root in function_ref.roots if root not in sys.path)]


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # before every call: a Path would cost five times as much
    except FileNotFoundError:
        return None


def _variables() -> Mapping[bytes, bytes]:
    # The dict inside `os.environb` (CPython 3.11 to 3.13) costs a tenth of reading each variable.
    found = getattr(os.environb, "_data", None)
    return found if isinstance(found, dict) else dict(os.environb)


#: A key of a logger's cache, which every change of a level empties (CPython 3.11 to 3.13). It is no level.
_SEEN: Any = "resilient_tasks has seen the levels"


def _levels_stand(last: Environment) -> bool:
    """Return whether no level has changed since `_levels` was called."""
    disabled = logging.root.manager.disable
    return last.levels[_DISABLED] == disabled and _SEEN in getattr(logging.root, "_cache", ())


def _levels() -> dict[str, int]:
    cache = getattr(logging.root, "_cache", None)
    if isinstance(cache, dict):
        cache[_SEEN] = True  # before the levels are read: a change in the meantime is seen the next time
    manager = logging.root.manager
    levels = {"": logging.root.level, _DISABLED: manager.disable}
    for name, logger in list(manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return levels
