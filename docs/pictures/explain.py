# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Draws the picture of docs/explain.md: the pipeline of its first example, and its worst case.

python docs/pictures/explain.py [--folder docs/images]
"""

import argparse
from pathlib import Path

from resilient_tasks import Fallback, Retry, explain, resilient


def last_month(month: str) -> str:  # noqa: ARG001 - the parameters of the function that it stands in for
    """Stand in for the month."""
    return "2013-06"


@resilient(
    retry=Retry(attempts=5, wait=[1, 2, 4, 8]),
    timeout=20,
    deadline=120,
    breaker="flights-api",
    fallback=Fallback(last_month, timeout=5),
    idempotent=True,
)
def fetch_month(month: str) -> str:
    """Fetch a month."""
    return month


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args()
    (chosen.folder / "explain.svg").write_text(explain(fetch_month).svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
