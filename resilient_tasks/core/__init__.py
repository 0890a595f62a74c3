"""The core: what a call is, how policies surround it, and what can come of it. Standard library only.

A module that only some calls need is used as an attribute of its package, such as `core.execution.interrupt`: it is
imported on first use.
"""

from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

if TYPE_CHECKING:
    from resilient_tasks.core import execution as execution
    from resilient_tasks.core import failures as failures
    from resilient_tasks.core import keys as keys
    from resilient_tasks.core import parameters as parameters
else:

    def __getattr__(name: str) -> Any:
        return loaded(__name__, name)
