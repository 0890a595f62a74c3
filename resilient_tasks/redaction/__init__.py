"""Find and redact secrets in texts, values and errors. Standard library only.

This package reads no settings: `core` provides the registered secrets, the class of stand-ins for errors, and what a
stand-in keeps. If only some calls need a module, use it as an attribute of this package, such as `redaction.text`: it
is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient_tasks.submodules import loaded

if TYPE_CHECKING:
    from resilient_tasks.redaction import exceptions as exceptions
    from resilient_tasks.redaction import registered as registered
    from resilient_tasks.redaction import secret_names as secret_names
    from resilient_tasks.redaction import text as text
    from resilient_tasks.redaction import values as values
else:

    def __getattr__(name: str) -> Any:
        return loaded(__name__, name)


#: Returns the registered secrets, as `registered.checked` does.
secrets: Callable[[], tuple[Any, ...]] = tuple
#: The class of the errors that replace those that cannot be copied.
stand_in: type[Exception] = Exception
#: Returns the attributes of the stand-in for an error.
kept: Callable[[BaseException], dict[str, Any]] = lambda _: {}  # noqa: E731  # until it is configured


def configure(
    registered_secrets: Callable[[], tuple[Any, ...]],
    stand_in_class: type[Exception],
    kept_of: Callable[[BaseException], dict[str, Any]],
) -> None:
    """Set the provider of the registered secrets, the class of stand-ins, and what a stand-in keeps of its error."""
    global secrets, stand_in, kept  # one set of settings a process
    secrets, stand_in, kept = registered_secrets, stand_in_class, kept_of
