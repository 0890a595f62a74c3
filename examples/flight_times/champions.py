"""The champion and its history: promotion and rollback are one move of an alias, and each move is recorded.

The alias serves. The history, in tags of the registered model, records who moved it, when and why; a move
that was made elsewhere, in MLflow's own pages for example, is added to it as such.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from registry import CHAMPION, NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry import Registry

_TAG = "champion-since."
_MOVED = "the alias was moved by other means"

What = Literal["promoted", "rolled back", "moved"]


class NoEarlierChampionError(LookupError):
    """There is no earlier champion to roll back to."""


@dataclass(frozen=True)
class Move:
    """One move of the alias.

    Attributes:
        version: the version that it points to since then.
        month: the month that this version was trained on.
        what: "promoted", "rolled back", or "moved" where it was moved by other means.
        who: the flow run or the person.
        when: ISO 8601, in UTC.
        why: in words.
    """

    version: int
    month: str
    what: What
    who: str
    when: str
    why: str

    def __str__(self) -> str:
        when = self.when[:16].replace("T", " ")
        return f"{when}  {self.month}  version {self.version} {self.what} by {self.who}: {self.why}"


def history(registry: Registry) -> list[Move]:
    """Return all recorded moves, the oldest first."""
    tags = registry.client().get_registered_model(NAME).tags
    return [Move(**json.loads(text)) for name, text in sorted(tags.items()) if name.startswith(_TAG)]


def promote(registry: Registry, version: int, why: str, who: str | None = None) -> bool:
    """Make a version the champion by one move of the alias, and record it; return whether anything changed.

    Readers see the old champion or the new one. Promoting the champion again changes nothing, and adds nothing to the
    history, so an attempt that is repeated promotes once.

    Args:
        registry: Where.
        version: What becomes the champion.
        why: For the history.
        who: For the history; the user of this process where nothing is given.

    Raises:
        registry.NoSuchVersionError: There is no such version, or another program registered it.
    """
    registry.check(version)
    moves = history(registry)
    if moves and moves[-1].version == version == registry.under(CHAMPION):
        return False
    if registry.under(CHAMPION) != version:
        moves = _with_strange_moves(registry, moves)
        _point(registry, version)
    _write(registry, version, "promoted", who, why)
    return True


def rollback(registry: Registry, why: str, who: str | None = None) -> Move:
    """Make the previous champion the champion again, and return the move; a second time goes back one more.

    A champion that was deleted from the registry is passed over.

    Raises:
        NoEarlierChampionError: There is no previous one.
    """
    line = _succession(_with_strange_moves(registry, history(registry)))
    if not line:
        raise NoEarlierChampionError("there is no champion yet: nothing was promoted")
    if len(line) == 1:
        raise NoEarlierChampionError(f"version {line[0]} is the first champion: there is none before it to go back to")
    there = registry.versions()
    earlier = [version for version in line[:-1] if version in there and version != line[-1]]
    if not earlier:
        raise NoEarlierChampionError(
            f"version {line[-1]} is the first champion that is still in the registry: those before it were deleted"
        )
    _point(registry, earlier[-1])
    return _write(registry, earlier[-1], "rolled back", who, why)


def first(registry: Registry) -> int | None:
    """Return the version of the first champion that is still in the registry, or None while there is none."""
    there = registry.versions()
    return next((move.version for move in history(registry) if move.version in there), None)


def _succession(moves: Sequence[Move]) -> list[int]:
    """Return the champions that stand behind each other: the last one serves, a rollback goes to the one before it."""
    line: list[int] = []
    for move in moves:
        if move.what == "rolled back" and move.version in line:
            del line[len(line) - line[::-1].index(move.version) :]
        elif not line or line[-1] != move.version:
            line.append(move.version)
    return line


def _with_strange_moves(registry: Registry, moves: list[Move]) -> list[Move]:
    """Record that the alias no longer points where the last recorded move put it."""
    serving = registry.under(CHAMPION)
    if serving is None or (moves and moves[-1].version == serving):
        return moves
    return [*moves, _write(registry, serving, "moved", "unknown", _MOVED)]


def _point(registry: Registry, version: int) -> None:
    registry.client().set_registered_model_alias(NAME, CHAMPION, str(version))


def _write(registry: Registry, version: int, what: What, who: str | None, why: str) -> Move:
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    move = Move(version, registry.tags(version).get("month", "no month"), what, who or getpass.getuser(), when, why)
    registry.client().set_registered_model_tag(NAME, f"{_TAG}{when}", json.dumps(asdict(move)))
    return move
