"""The core: what a call is, how policies surround it, and what can come of it. Standard library only.

A module that only some calls need is used as an attribute of this package, `core.interrupt`: its first use loads it.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    module = f"{__name__}.{name}"
    if not name.startswith("_"):
        try:
            return __import__(module, fromlist=["*"])  # which sets the attribute, so this is asked once
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
