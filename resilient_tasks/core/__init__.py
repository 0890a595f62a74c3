"""The core: what a call is, how policies surround it, and what can come of it. Standard library only.

A module that only some calls need is used as an attribute of this package, `core.interrupt`: its first use loads it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilient_tasks.core import abandoned as abandoned
    from resilient_tasks.core import cleaned as cleaned
    from resilient_tasks.core import durations as durations
    from resilient_tasks.core import failures as failures
    from resilient_tasks.core import interrupt as interrupt
    from resilient_tasks.core import key_functions as key_functions
    from resilient_tasks.core import limits as limits
    from resilient_tasks.core import race as race
    from resilient_tasks.core import redacted as redacted
    from resilient_tasks.core import words as words
else:

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
