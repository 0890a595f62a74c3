"""Patterns that are compiled on first use: each compiles, and then works like any other."""

import pkgutil
import re
from importlib import import_module

import pytest

from resilient_tasks import core, redaction
from resilient_tasks.redaction import patterns
from resilient_tasks.redaction.patterns import compiled


def _later_in(thing, depth=3):
    """Return the patterns in a value of a module."""
    if isinstance(thing, dict):
        thing = (*thing, *thing.values())
    if depth and isinstance(thing, tuple | list | set | frozenset):
        return [found for part in list(thing) for found in _later_in(part, depth - 1)]
    return [thing] if type(thing) is patterns._Later else []


def test_every_pattern_compiles():
    modules = [
        import_module(f"{room.__name__}.{found.name}")
        for room in (core, redaction)
        for found in pkgutil.iter_modules(room.__path__)
    ]
    later = [found for module in modules for value in vars(module).values() for found in _later_in(value)]
    assert len(later) > 100
    for pattern in later:
        assert pattern.flags == re.compile(pattern.pattern, pattern.flags).flags


def test_a_wrong_pattern_raises_on_first_use():
    wrong = compiled("(")
    with pytest.raises(re.error, match="unterminated subpattern"):
        wrong.search("text")


@pytest.mark.parametrize("use", ["search", "match", "fullmatch", "finditer", "findall", "split"])
def test_it_works_like_any_other(use):
    own, other = compiled(r"(?P<word>a+)", re.IGNORECASE), re.compile(r"(?P<word>a+)", re.IGNORECASE)
    for text in ("Aab", "bAa", ""):
        assert repr([getattr(own, use)(text)]).split(" at ")[0] == repr([getattr(other, use)(text)]).split(" at ")[0]
    assert own.sub("-", "baab") == "b-b"
    assert (own.pattern, own.flags, dict(own.groupindex)) == (other.pattern, other.flags, {"word": 1})
