"""The page on correctness: each claim is linked to a test that exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "correctness.md").read_text()
_LINK = re.compile(r"\[([^]]+)\]\(\.\./(tests/[^)#]+)\)")


def rows(page: str) -> Iterator[tuple[str, str]]:
    """Yield each claim with what holds it."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 2 and cells[0] != "claim" and set(cells[0]) != {"-"}:
            yield cells[0], cells[1]


def dead_links(held_by: str, root: Path = ROOT) -> list[str]:
    """Return the links that lead to no test; the whole text if there is no link."""
    links = _LINK.findall(held_by)
    dead = [f"{path}: {name}" for name, path in links if f"test_{name.replace(' ', '_')}" not in names_in(root / path)]
    return dead if links else [held_by]


@cache
def names_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    found = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("claim", "held_by"), [pytest.param(*row, id=row[0]) for row in rows(PAGE)])
def test_a_claim_is_held_by_a_test_that_exists(claim, held_by):
    assert not dead_links(held_by), claim


@pytest.mark.parametrize(
    "held_by",
    [
        "no link",
        "[no such test](../tests/test_correctness.py)",
        "[a dead link is found](../tests/test_no_such_file.py)",
        "[a dead link is found](../tests/test_correctness.py); [another](../tests/test_correctness.py)",
    ],
)
def test_a_dead_link_is_found(held_by):
    assert dead_links(held_by)


def test_the_page_has_claims_about_every_room():
    assert len(list(rows(PAGE))) >= 60
    assert not dead_links("[a dead link is found](../tests/test_correctness.py)")
