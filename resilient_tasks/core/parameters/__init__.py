"""Checks of arguments, with messages that say what to write instead."""

from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

if TYPE_CHECKING:
    from resilient_tasks.core.parameters import durations as durations
    from resilient_tasks.core.parameters import words as words
else:

    def __getattr__(name: str) -> Any:
        return loaded(__name__, name)
