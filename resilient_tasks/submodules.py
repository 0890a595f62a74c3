"""Modules that load with their first use, as attributes of their package."""

from __future__ import annotations

from typing import Any


def loaded(package: str, name: str) -> Any:
    """Return the module `name` of `package`, which is then an attribute of it, so that this is asked once.

    Raises:
        AttributeError: there is no such module.
    """
    module = f"{package}.{name}"
    if not name.startswith("_"):
        try:
            return __import__(module, fromlist=["*"])
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    msg = f"module {package!r} has no attribute {name!r}"
    raise AttributeError(msg)
