"""Names of shared state, and keys of arguments."""

from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

if TYPE_CHECKING:
    from resilient_tasks.core.keys import key_functions as key_functions
else:

    def __getattr__(name: str) -> Any:
        return loaded(__name__, name)
