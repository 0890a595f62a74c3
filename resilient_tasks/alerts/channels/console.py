"""Console: messages on standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

from resilient_tasks.alerts.message import Message
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.shown import for_terminal


@answering("Console()")
@dataclass(frozen=True, eq=False)
class Console:
    """Write messages to standard error."""

    #: Lets messages through while tests run, see `gate`.
    stays_in_this_process: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "console"

    def send(self, message: Message, *, within: float) -> None:  # noqa: ARG002  # a terminal answers at once
        """See `Channel`."""
        sys.stderr.write(f"[alert] {for_terminal(message.text())}\n")
        sys.stderr.flush()
