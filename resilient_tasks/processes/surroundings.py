"""What a function finds around itself, as in its parent: paths, folder, environment, settings, log levels."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resilient_tasks.core import settings
from resilient_tasks.processes import references


def present() -> dict[str, Any]:
    """Return the surroundings of this process."""
    return {
        "path": [*sys.path, *references.roots],
        "folder": _folder(),
        "environment": dict(os.environb),  # half the cost of os.environ
        "settings": _settings(),
        "levels": _levels(),
    }


def put(found: Mapping[str, Any]) -> None:
    """Change the surroundings of this process to those given; what is not named stays."""
    if "path" in found:
        sys.path[:] = found["path"]
    if found.get("folder"):
        with contextlib.suppress(OSError):  # gone in the meantime: the parent, too, is nowhere
            os.chdir(found["folder"])
    if "environment" in found:
        for name in os.environb.keys() - found["environment"].keys():
            del os.environb[name]
        os.environb.update(found["environment"].items() - os.environb.items())
    if "settings" in found:
        settings.current = found["settings"]
    if "levels" in found:
        logging.disable(found["levels"][_DISABLED])
        for name, level in found["levels"].items():
            if name != _DISABLED:
                logging.getLogger(name).setLevel(level)


def _settings() -> settings.Settings:
    """Return the settings that can cross: a store that is an object stays here."""
    here = settings.current
    return here if isinstance(here.store, str) else replace(here, store="memory:")


#: Under this name, no logger's, the level up to which logging is switched off altogether.
_DISABLED = "\0disabled"


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # asked before every call: a Path would cost five times as much
    except FileNotFoundError:
        return None


def _levels() -> dict[str, int]:
    manager = logging.root.manager
    levels = {"": logging.root.level, _DISABLED: manager.disable}
    for name, logger in list(manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return levels
