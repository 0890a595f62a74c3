"""Run work: threads, event loops, the clock, and limits that interrupt work."""

from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

if TYPE_CHECKING:
    from resilient_tasks.core.execution import abandoned as abandoned
    from resilient_tasks.core.execution import interrupt as interrupt
    from resilient_tasks.core.execution import limits as limits
    from resilient_tasks.core.execution import race as race
else:

    def __getattr__(name: str) -> Any:
        return loaded(__name__, name)
