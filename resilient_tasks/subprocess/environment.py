"""What a function finds around itself, as in its parent: paths, folder, environment, settings, log levels.

They are looked at before every call, and sent as far as they have changed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from resilient_tasks.core import settings
from resilient_tasks.subprocess import function_ref

#: Under this name, no logger's, the level up to which logging is switched off altogether.
_DISABLED = "\0disabled"


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The environment of a process at one time, never changed: where they are the same object, they are the same."""

    path: list[str]
    folder: str | None
    environment: Mapping[bytes, bytes]
    settings: settings.Settings
    levels: Mapping[str, int]


_last: Surroundings | None = None


def present() -> Surroundings:
    """Return the environment of this process: the same object as before, where nothing has changed."""
    global _last  # noqa: PLW0603  # one a process
    last, path, folder, environment = _last, _path(), _folder(), _environment()
    if (
        last is None
        or last.settings is not settings.current
        or last.environment != environment
        or last.path != path
        or last.folder != folder
        or not _levels_stand(last)
    ):
        _last = last = Surroundings(path, folder, {**environment}, settings.current, _levels())
    return last


def changes(before: Surroundings | None, after: Surroundings) -> dict[str, Any]:
    """Return what `put` needs to make the environment `before` those `after`; None: they may be any."""
    changed: dict[str, Any] = {}
    if before is None or before.path != after.path:
        changed["path"] = after.path
    if before is None or before.folder != after.folder:
        changed["folder"] = after.folder
    if before is None:
        changed["environment"] = after.environment
    elif before.environment != after.environment:
        changed["variables"] = _changed(before.environment, after.environment, None)
    if before is None or before.settings is not after.settings:
        changed["settings"] = _portable(after.settings)
    if before is None or before.levels != after.levels:
        changed["levels"] = _changed({} if before is None else before.levels, after.levels, 0)
    return changed


def put(found: Mapping[str, Any]) -> None:
    """Change the environment of this process as `changes` says; what is not named stays."""
    if "path" in found:
        sys.path[:] = found["path"]
    if found.get("folder"):
        with contextlib.suppress(OSError):  # gone in the meantime: the parent, too, is nowhere
            os.chdir(found["folder"])
    variables = found.get("variables", {})
    if "environment" in found:
        variables = _changed(_environment(), found["environment"], None)
    for name, value in variables.items():
        if value is not None:
            os.environb[name] = value
        else:
            os.environb.pop(name, None)
    if "settings" in found:
        settings.current = found["settings"]
    for name, level in found.get("levels", {}).items():
        if name == _DISABLED:
            logging.disable(level)
        else:
            logging.getLogger(name).setLevel(level)


def _changed(before: Mapping[Any, Any], after: Mapping[Any, Any], without: object) -> dict[Any, Any]:
    """Return the names whose values are others `after`, and `without` for each that is gone."""
    gone = dict.fromkeys(before.keys() - after.keys(), without)
    return gone | {name: value for name, value in after.items() if before.get(name) != value}


def _portable(here: settings.Settings) -> settings.Settings:
    """Return the settings that can cross: a store that is an object stays here."""
    stores: dict[str, Any] = {
        name: "memory:" for name in ("store", "incidents") if not isinstance(getattr(here, name), str)
    }
    return replace(here, **stores) if stores else here


def _path() -> list[str]:
    return [*sys.path, *(root for root in function_ref.roots if root not in sys.path)]


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # asked before every call: a Path would cost five times as much
    except FileNotFoundError:
        return None


def _environment() -> Mapping[bytes, bytes]:
    # To look into what `os.environb` is made of (CPython 3.11 to 3.13) costs a tenth of asking it for each variable.
    found = getattr(os.environb, "_data", None)
    return found if isinstance(found, dict) else dict(os.environb)


#: In the cache of a logger, which whatever changes a level empties (CPython 3.11 to 3.13), this is no level.
_SEEN: Any = "resilient_tasks has seen the levels"


def _levels_stand(last: Surroundings) -> bool:
    """Tell whether no level has changed since `_levels` was asked."""
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
