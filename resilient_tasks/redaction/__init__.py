"""Find and redact secrets in texts and values. Standard library only.

This package does not read the settings: they provide the registered secrets. Where only some calls need a module, use
it as an attribute of this package, such as `redaction.redact`: it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

if TYPE_CHECKING:
    from resilient_tasks.redaction import redact as redact
    from resilient_tasks.redaction import registered as registered
else:

    def __getattr__(name: str) -> Any:
        return loaded(__name__, name)


#: Returns the registered secrets, as `registered.checked` does.
secrets: Callable[[], tuple[Any, ...]] = tuple


def registered_by(provider: Callable[[], tuple[Any, ...]]) -> None:
    """Set the provider of the registered secrets."""
    global secrets  # noqa: PLW0603  # one set of settings a process
    secrets = provider
