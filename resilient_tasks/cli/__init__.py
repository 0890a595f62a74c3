"""The command line: `resilient-tasks demo | quarantine | breaker | limit | outbox | alerts | doctor ...`.

Exit codes: 0 success (of a replay: all rows are released); 1 some rows or messages still wait, or `doctor` found a
problem; 2 the command cannot be run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from resilient_tasks.cli import alerts, breaker, demo, doctor, limit, outbox, quarantine
from resilient_tasks.cli.printing import REFUSED, UsageError
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.redaction.text import redact

_GROUPS = (demo, quarantine, breaker, limit, outbox, alerts, doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command-line arguments; default: `sys.argv[1:]`.

    Returns:
        The exit code.
    """
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
    except (UsageError, OSError, ValueError, TypeError) as error:
        print(f"resilient-tasks: {for_terminal(redact(str(error)))}", file=sys.stderr)  # noqa: T201
        return REFUSED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="resilient-tasks", description="Resilience policies around Prefect tasks.")
    subparsers = parser.add_subparsers(
        required=True, metavar="|".join(group.__name__.rpartition(".")[2] for group in _GROUPS)
    )
    for group in _GROUPS:
        group.add_to(subparsers)
    return parser
