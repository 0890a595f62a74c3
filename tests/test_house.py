"""The house rules: what a policy, an event and a public name bring along."""

import dataclasses
import inspect
import logging
import re
import types
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

import resilient_tasks
from resilient_tasks.core.events import EVENTS, Event
from resilient_tasks.core.pipeline import ORDER, Policy

ROOT = Path(resilient_tasks.__file__).resolve().parents[1]
PACKAGE = ROOT / "resilient_tasks"
DOCS = ROOT / "docs"
CHANGELOG = ROOT / "CHANGELOG.md"
LONGEST = 500

#: A policy is a file; a folder, where calls share its state.
POLICY_FILES = {
    path.stem if path.stem != "policy" else path.parent.name: path
    for path in sorted([*(PACKAGE / "policies").glob("*.py"), *(PACKAGE / "policies").glob("*/policy.py")])
    if path.stem != "__init__"
}
SKELETON = ["What it is for", "Usage", "Arguments", "What it emits", "What it does not do", "Anti-patterns"]


def _policies_in(path):
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return [
        item
        for name, item in vars(module).items()
        if inspect.isclass(item)
        and issubclass(item, Policy)
        and item.__module__ == module.__name__
        and not name.startswith("_")
    ]


# Notify is the keyword `notify=`: what people import are its channels.
NOTIFY = PACKAGE / "alerts" / "policy.py"
POLICIES = [(name, policy) for name, path in POLICY_FILES.items() for policy in _policies_in(path)]
EVERY_POLICY = [*POLICIES, *(("notify", policy) for policy in _policies_in(NOTIFY))]
OWN_EVENTS = [event for event in EVENTS.values() if event.__module__.startswith("resilient_tasks.")]

each_policy = pytest.mark.parametrize(
    ("name", "policy"), EVERY_POLICY, ids=[policy.__name__ for _, policy in EVERY_POLICY]
)


def _page(name):
    page = DOCS / "policies" / f"{name}.md"
    assert page.exists(), f"write docs/policies/{name}.md"
    return page.read_text(encoding="utf-8")


def _section(text, heading):
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _table(text):
    """Give the cells of every row of every Markdown table, the first cell without its backticks."""
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in text.splitlines() if line.startswith("|")]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells] for cells in rows}


def test_every_file_of_policies_holds_a_policy():
    assert POLICY_FILES
    for name, path in POLICY_FILES.items():
        assert _policies_in(path), f"{name} holds no public policy"


@pytest.mark.parametrize(("name", "policy"), POLICIES, ids=[policy.__name__ for _, policy in POLICIES])
def test_a_policy_is_at_the_front_door(name, policy):
    assert policy.__name__ in resilient_tasks.__all__, f"name {policy.__name__} in resilient_tasks/__init__.py"
    assert getattr(resilient_tasks, policy.__name__) is policy


@each_policy
def test_a_policy_has_a_page_with_the_one_skeleton(name, policy):
    text = _page(name)
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert text.startswith(f"# {policy.__name__}\n")
    assert headings == SKELETON
    assert f"policies/{name}" in (DOCS / "index.md").read_text(encoding="utf-8")


@each_policy
def test_a_policys_page_lists_its_arguments_with_their_defaults(name, policy):
    rows = _table(_section(_page(name), "Arguments"))
    for part in dataclasses.fields(policy):
        if not part.init or part.name.startswith("_"):
            continue
        assert part.name in rows, f"docs/policies/{name}.md: the table of arguments lacks `{part.name}`"
        assert rows[part.name][1] == _shown(part.default), f"the default of `{part.name}` in docs/policies/{name}.md"


def _shown(default):
    if default is dataclasses.MISSING:
        return "required"
    text = repr(default)
    return text.strip("<>") if text.startswith("<") else f"`{text}`".replace("'", '"')


@each_policy
def test_a_policy_has_a_test_file(name, policy):
    place = ROOT / "tests" / ("alerts/test_notify.py" if name == "notify" else f"policies/test_{name}.py")
    assert place.exists(), f"write {place.relative_to(ROOT)}"


@each_policy
def test_a_policy_has_a_line_in_the_changelog(name, policy):
    keyword = rf"`{policy.__name__}`|`{name}=`"
    assert re.search(keyword, CHANGELOG.read_text(encoding="utf-8")), f"CHANGELOG.md lacks `{policy.__name__}`"


@pytest.mark.parametrize("event", OWN_EVENTS, ids=lambda event: event.name)
def test_an_event_has_its_line_in_the_documentation(event):
    rows = _table((DOCS / "observing.md").read_text(encoding="utf-8"))
    assert event.name in rows, f"docs/observing.md lacks the event {event.name}"
    _, cls, level, fields, _ = rows[event.name]
    common = {part.name for part in dataclasses.fields(Event)}
    own = {part.name for part in dataclasses.fields(event)} - common
    assert cls == f"`{event.__name__}`"
    assert level == logging.getLevelName(event.level)
    assert set(re.findall(r"`(\w+)`", fields)) == own


def test_the_documentation_names_no_event_that_does_not_exist():
    rows = _table((DOCS / "observing.md").read_text(encoding="utf-8"))
    named = {name for name in rows if re.fullmatch(r"[a-z]+\.[a-z_]+", name)}
    assert named == {event.name for event in OWN_EVENTS}


@each_policy
def test_a_policys_page_emits_only_events_that_exist_with_all_their_fields(name, policy):
    emitted = _table(_section(_page(name), "What it emits"))
    rows = {event: cells for event, cells in emitted.items() if "." in event}
    assert rows, "say what it emits"
    common = {part.name for part in dataclasses.fields(Event)}
    for event, cells in rows.items():
        own = {part.name for part in dataclasses.fields(EVENTS[event])} - common
        assert set(re.findall(r"`(\w+)`", cells[2])) == own, f"the fields of {event} in docs/policies/{name}.md"


def test_every_place_of_the_order_has_its_reason():
    rows = _table((DOCS / "order.md").read_text(encoding="utf-8"))
    assert [place for place in rows if place in ORDER] == list(ORDER)


@pytest.mark.parametrize("name", resilient_tasks.__all__)
def test_a_public_name_is_documented(name):
    value = getattr(resilient_tasks, name)
    api = (DOCS / "api.md").read_text(encoding="utf-8")
    assert re.search(rf"(:: |`){name}\b", api), f"docs/api.md lacks {name}"
    if not inspect.isclass(value) and not isinstance(value, types.FunctionType):
        return  # an alias has no docstring; the page explains it
    # Of the class itself: an inherited one says nothing of it.
    docstring = (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or ""
    assert docstring.strip(), f"{name} has no docstring"
    assert not docstring.startswith(f"{name}("), f"{name} has only the docstring that dataclass makes"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_go(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines: split {path.relative_to(ROOT)}, one idea a file"


def test_no_two_helpers_of_the_tests_have_one_name():
    """They are imported by their bare names into one process, as the example's own modules are."""
    folders = [ROOT / "examples" / "flight_times", *(path for path in (ROOT / "tests").rglob("*") if path.is_dir())]
    helpers = [
        path
        for folder in folders
        for path in folder.glob("*.py")
        if not {"benchmarks", "typing"}.intersection(path.parts)
    ]
    names = Counter(path.stem for path in helpers if not path.stem.startswith(("test_", "conftest", "__init__")))
    assert [name for name, count in names.items() if count > 1] == []


def test_a_folder_that_the_fast_tests_leave_out_exists():
    named = re.search(r"^SLOW_FOLDERS = \{(.+)\}$", (ROOT / "conftest.py").read_text(encoding="utf-8"), re.MULTILINE)
    for name in re.findall(r"\w+", named[1]):
        assert (ROOT / name).is_dir() or (ROOT / "tests" / name).is_dir(), f"conftest.py: no folder is called {name}"
