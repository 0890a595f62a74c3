"""The core: what a call is, how policies surround it, and what can come of it. Standard library only.

A module that only some calls need is used as an attribute of this package, `core.interrupt`: its first use loads it.
"""

from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

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
        return loaded(__name__, name)
