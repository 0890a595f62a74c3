"""Public names: which they are, and that a change which breaks them is named."""

import subprocess
import sys
from pathlib import Path

import griffe
import pytest

import resilient_tasks

sys.path.insert(0, str(Path(__file__).parent))

import public_api
from public_api import Break, breaks, documented, found, loaded

ROOT = Path(resilient_tasks.__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

OLD = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Retry:
    attempts: int = 3
    wait: float = 0.5

    def delay(self, attempt, *, jitter=True): ...
    def _random(self, seed): ...

def resilient(fn, name="", *, retry=None): ...
"""


@pytest.fixture(scope="module")
def today():
    return loaded(ROOT)


def package(
    folder, text, front_door="from resilient_tasks.core import Retry, resilient\n__all__ = ['Retry', 'resilient']"
):
    inside = folder / "resilient_tasks"
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text(front_door)
    (inside / "core.py").write_text(text)
    return loaded(folder)


def broken_by(tmp_path, old, new):
    """Return what breaks where `old`, a part of the module, becomes `new`."""
    assert old in OLD
    before, after = package(tmp_path / "old", OLD), package(tmp_path / "new", OLD.replace(old, new))
    return [(each.name, each.change) for each in breaks(before, after, NAMES)]


NAMES = ["resilient_tasks.Retry", "resilient_tasks.resilient"]

BREAKS = {
    "a keyword removed": (", *, retry=None", "", "resilient", "parameter was removed: retry=None -> none"),
    "a keyword renamed": ("retry=None", "again=None", "resilient", "parameter was removed: retry=None -> none"),
    "an argument made required": (
        'name=""',
        "name",
        "resilient",
        "parameter is now required: name='' -> name",
    ),
    "an argument added as required": (
        "(fn, ",
        "(fn, kind, ",
        "resilient",
        "parameter was added as required: none -> kind",
    ),
    "an argument made a keyword": (
        'name="", *,',
        '*, name="",',
        "resilient",
        "parameter kind was changed: name='' -> name=''",
    ),
    "another default": ("retry=None", "retry=3", "resilient", "parameter default was changed: retry=None -> retry=3"),
    "a field of a policy removed": ("    wait: float = 0.5\n", "", "Retry.wait", "public object was removed"),
    "a method removed": (
        "    def delay(self, attempt, *, jitter=True): ...\n",
        "",
        "Retry.delay",
        "public object was removed",
    ),
    "a keyword of a method removed": (
        ", *, jitter=True",
        "",
        "Retry.delay",
        "parameter was removed: jitter=True -> none",
    ),
    "another kind of thing": (
        "def resilient(fn",
        "resilient = Retry\ndef other(fn",
        "resilient",
        "public object points to a different kind of object",
    ),
}


@pytest.mark.parametrize(("old", "new", "name", "change"), BREAKS.values(), ids=BREAKS)
def test_a_break_is_named(tmp_path, old, new, name, change):
    assert (f"resilient_tasks.{name}", change) in broken_by(tmp_path, old, new)


FITS = {
    "a keyword added": ("retry=None", "retry=None, timeout=None"),
    "a field added": ("wait: float = 0.5", "wait: float = 0.5\n    stop: float = 9"),
    "a method added": ("    def _random", "    def budget(self): ...\n    def _random"),
    "a private method removed": ("    def _random(self, seed): ...\n", ""),
}


@pytest.mark.parametrize(("old", "new"), FITS.values(), ids=FITS)
def test_what_breaks_no_code_is_not_named(tmp_path, old, new):
    assert broken_by(tmp_path, old, new) == []


def test_a_name_that_is_gone_from_the_front_door_is_a_break(tmp_path):
    before = package(tmp_path / "old", OLD)
    after = package(tmp_path / "new", OLD, "from resilient_tasks.core import resilient\n__all__ = ['resilient']")
    assert [each.name for each in breaks(before, after, NAMES)] == ["resilient_tasks.Retry"]


def test_code_that_moves_behind_the_front_door_breaks_nothing(tmp_path):
    before, moved = package(tmp_path / "old", OLD), tmp_path / "new" / "resilient_tasks" / "policies"
    after = package(tmp_path / "new", "", "from resilient_tasks.policies.retry import Retry, resilient")
    assert [each.name for each in breaks(before, after, NAMES)] == NAMES  # it is not there yet
    moved.mkdir()
    (moved / "__init__.py").touch()
    (moved / "retry.py").write_text(OLD)
    assert list(breaks(before, loaded(tmp_path / "new"), NAMES)) == []


def test_a_break_of_a_real_policy_is_named(today):
    older = loaded(ROOT)
    retry = found(older, "resilient_tasks.Retry")
    retry.parameters.add(griffe.Parameter("tries", kind=griffe.ParameterKind.keyword_only, default="3"))
    assert list(breaks(older, today, documented(PAGE))) == [
        Break("resilient_tasks.Retry.__init__", "parameter was removed: tries=3 -> none")
    ]


def test_a_break_is_announced_by_its_name_in_the_first_section_of_the_changelog():
    breaking = "\n## [Unreleased]\n\n### Breaking\n\n- `Retry` waits longer.\n\n### Added\n\n- `Other`\n\n## 1\n"
    assert Break("resilient_tasks.Retry", "").is_announced(breaking)
    assert not Break("resilient_tasks.Other", "").is_announced(breaking)
    assert not Break("resilient_tasks.Retry", "").is_announced(f"# Changelog\n\n## [Unreleased]\n\n## 1\n{breaking}")


def test_a_commit_that_is_not_here_is_refused(capsys):
    assert public_api.main("no-such-commit") == 1
    assert "there is no commit 'no-such-commit' here" in capsys.readouterr().out


def test_public_names_are_those_of_the_front_door(today):
    program = "before = {*dir()}\nfrom resilient_tasks import *\nprint(*{*dir()} - before - {'before'})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split()) == sorted(resilient_tasks.__all__)
    imported = {
        name
        for name, member in today.members.items()
        if isinstance(member, griffe.Alias) and member.target_path.startswith("resilient_tasks.")
    }
    assert imported == set(resilient_tasks.__all__), "what a type checker sees is not what Python imports"


def test_every_documented_name_can_be_compared(today):
    assert [address for address in documented(PAGE) if found(today, address) is None] == []
