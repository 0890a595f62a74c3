"""Show, promote and roll back the champion. The registry is in `--out`, or in the folder FLIGHT_TIMES_OUT.

python examples/flight_times/manage.py history
python examples/flight_times/manage.py promote 7 --why "planes checked by hand"
python examples/flight_times/manage.py promote challenger
python examples/flight_times/manage.py rollback --why "late flights since Tuesday"
python examples/flight_times/manage.py plot docs/images/champions.png
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import champions
from registry import CHALLENGER, CHAMPION, NoSuchVersionError, Registry


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 1, with an error message, if it fails."""
    given = _given(arguments)
    registry = Registry(given.out.resolve() / "registry")
    if not (registry.folder / "mlflow.db").exists():
        print(f"there is no registry in {registry.folder}: run the flow first, or give --out FOLDER")
        return 1
    try:
        if given.do == "promote":
            _promote(registry, given.version, given.why)
        elif given.do == "rollback":
            print(champions.rollback(registry, given.why))
        elif given.do == "plot":
            _plot(registry, given.path)
        else:
            _history(registry)
    except (NoSuchVersionError, champions.NoEarlierChampionError, ValueError, OSError) as error:
        print(error)
        return 1
    return 0


def _given(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = Path(os.environ.get("FLIGHT_TIMES_OUT", "out"))
    parser.add_argument("--out", type=Path, default=out, help="folder that the flow writes to")
    do = parser.add_subparsers(dest="do", required=True)
    do.add_parser("history", help="every move of the alias: what, who, when and why")
    promote = do.add_parser("promote", help="make a version the champion")
    promote.add_argument("version", help='a number, or "challenger" for the newest')
    back = do.add_parser("rollback", help="make the previous champion the champion again")
    for each in (promote, back):
        each.add_argument("--why", default="no reason given", help="for the history")
    do.add_parser("plot", help="the champion's history as a picture").add_argument("path", type=Path)
    return parser.parse_args(arguments)


def _promote(registry: Registry, version: str, why: str) -> None:
    number = registry.under(CHALLENGER) if version == CHALLENGER else int(version) if version.isdecimal() else None
    if number is None and version == CHALLENGER:
        raise NoSuchVersionError("there is no challenger: nothing was registered yet, or it was deleted")
    if number is None:
        raise NoSuchVersionError(f'"{version}" is no version: give a number, or "{CHALLENGER}"')
    changed = champions.promote(registry, number, why)
    print(champions.history(registry)[-1] if changed else f"version {number} is the champion already")


def _history(registry: Registry) -> None:
    for move in champions.history(registry):
        print(move)
    for alias in (CHAMPION, CHALLENGER):
        version = registry.under(alias)
        print(f"{alias}: {'none' if version is None else _described(registry, version)}")


def _described(registry: Registry, version: int) -> str:
    tags = registry.tags(version)
    if "verdict" not in tags:
        return f"version {version}, which another program registered"
    return f"version {version} of {tags['month']} ({tags['verdict']}: {tags['why']})"


def _plot(registry: Registry, path: Path) -> None:
    import figure_champions  # noqa: PLC0415  # matplotlib, only for this
    import records  # noqa: PLC0415

    figure_champions.draw(records.read(registry), path)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
