"""Shared by the measurements: a Prefect server for the run, the machine's description, and tables."""

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Otherwise the server looks for a host on the internet.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

_STARTUP = 120  # seconds; Prefect gives its server 30, and a busy machine may need more
_terminal = os.fdopen(os.dup(2), "w")


def say(line: str) -> None:
    """Show progress on the terminal, even if standard error is redirected."""
    print(line, file=_terminal, flush=True)


@contextmanager
def prefect_server() -> Iterator[None]:
    """Run a temporary Prefect server with an empty database, and discard its logs and those of the runs."""
    say("starting a Prefect server ...")
    with _silent():
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=_STARTUP):
            yield


@contextmanager
def _silent() -> Iterator[None]:
    """Discard standard error, also of child processes. Log lines are still created, as part of the cost."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def machine() -> str:
    """Describe the machine and the versions."""
    import prefect

    system = f"{platform.system()} {platform.machine()}"
    return f"Python {platform.python_version()}, Prefect {prefect.__version__}, {system}, {os.cpu_count()} CPUs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool) -> str:
    """Format `rows` for a terminal, or as Markdown."""
    rows = [tuple(row) for row in rows]
    widths = [max(3, *(len(row[at]) for row in (head, *rows))) for at in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    if markdown:
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in lines)


def write_into(page: Path, name: str, text: str) -> None:
    """Put `text` between the comments `<!-- name -->` and `<!-- /name -->` of a Markdown page."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    if not (found and ends):
        raise ValueError(f"{page} has no place for this: give it the lines {begin.strip()} and {end}")
    page.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")
