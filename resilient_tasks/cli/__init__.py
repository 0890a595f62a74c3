"""The command line: `resilient-tasks demo | explain | rehearse | report | quarantine | breaker | limit | outbox ...`.

Exit codes: 0 success (of a replay: all rows are released); 1 some rows or messages still wait, `explain --check` has
remarks, `rehearse` found a bad run, or `doctor` found a problem; 2 the command cannot be run; 130 Ctrl-C ended a
rehearsal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from resilient_tasks.cli.printing import REFUSED, UsageError
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.redaction.text import redact

#: The modules of the commands, in the order of the help. The one that is run is imported alone: some load pandas.
_GROUPS = ("demo", "explain", "rehearse", "report", "quarantine", "breaker", "limit", "outbox", "alerts", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command-line arguments; default: `sys.argv[1:]`.

    Returns:
        The exit code.
    """
    try:
        words = sys.argv[1:] if arguments is None else [*arguments]
        options = _parser(*words[:1]).parse_args(words)
        code: int = options.run(options)
    except (UsageError, OSError, ValueError, TypeError) as error:
        print(f"resilient-tasks: {for_terminal(redact(str(error)))}", file=sys.stderr)  # noqa: T201
        return REFUSED
    return code


def _parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of one command, or of all if it is none."""
    parser = argparse.ArgumentParser(prog="resilient-tasks", description="Resilience policies around Prefect tasks.")
    subparsers = parser.add_subparsers(required=True, metavar="|".join(_GROUPS))
    for group in (command,) if command in _GROUPS else _GROUPS:
        import_module(f"{__name__}.{group}").add_to(subparsers)
    return parser
