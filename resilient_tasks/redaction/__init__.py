"""Secrets in texts and values: how they are found, and blotted out. Standard library only.

It knows no settings: they say which secrets the user has registered. A module is used as an attribute of this package,
`redaction.redact`, where few calls need it: its first use loads it.
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


#: Returns the secrets that the user has registered, as `registered.checked` does.
secrets: Callable[[], tuple[Any, ...]] = tuple


def registered_by(provider: Callable[[], tuple[Any, ...]]) -> None:
    """Have the settings say which secrets are registered."""
    global secrets  # noqa: PLW0603  # one set of settings a process
    secrets = provider
