"""The pages of Start: what docs/install.md says of extras and versions, and the groups of the sidebar."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

import resilient_tasks
from resilient_tasks.core.settings import Settings

ROOT = Path(resilient_tasks.__file__).parents[1]
DOCS = ROOT / "docs"
INDEX = (DOCS / "index.md").read_text(encoding="utf-8")
INSTALL = (DOCS / "install.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = {
    caption: pages.split()
    for caption, pages in re.findall(r"(?s)```\{toctree\}\n:caption: (\w+)\n.*?\n\n(.*?)```", INDEX)
}


def _name(requirement):
    return re.match(r"[\w-]+", requirement)[0].lower()


def _rows(heading):
    lines = INSTALL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return {cells[0].strip(" `"): cells for cells in rows[1:]}


def test_the_page_has_every_extra_of_the_package():
    assert list(_rows("Extras")) == list(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("extra", ["redis", "s3", "drift", "demo"])
def test_an_extra_brings_what_the_page_says(extra):
    brings = re.findall(r"`([\w-]+)`", _rows("Extras")[extra][1])
    assert brings == [_name(each) for each in PROJECT["optional-dependencies"][extra]]


def test_the_page_names_the_versions_that_the_package_allows():
    needed = {_name(each): each for each in PROJECT["dependencies"]}
    for name, cells in _rows("Versions").items():
        if name != "Python":
            assert re.sub(r"^[\w-]+(\[.*\])?", "", needed[name.lower()]) == cells[1].strip("`"), name
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_first_page_has_every_setting_with_its_default():
    table = INDEX.partition("\n| setting | default | meaning |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip(" `") for cell in line.strip("|").split(" | ")[:2]] for line in table.splitlines()[1:]]
    settings = [[part.name, repr(part.default).replace("'", '"')] for part in dataclasses.fields(Settings)]
    assert [row for row in rows if row[0] != "secrets"] == [each for each in settings if each[0] != "secrets"]


def test_the_sidebar_has_its_groups():
    assert list(GROUPS) == ["Start", "Guides", "Examples", "Policies", "Reference"]
    assert INDEX.count("```{toctree}") == len(GROUPS)
    assert GROUPS["Start"][0] == "tutorial"


def test_every_page_is_in_one_group():
    pages = sorted(str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md"))
    grouped = sorted(page for group in GROUPS.values() for page in group)
    assert grouped == [page for page in pages if page != "index"]


def test_every_page_is_named_on_the_first_one():
    text = INDEX.partition("```{toctree}")[0]
    missing = [page for group in GROUPS.values() for page in group if f"({page}.md)" not in text]
    assert not missing, f"docs/index.md names no {missing} in its tables"


def test_policies_are_in_the_group_of_policies_and_nowhere_else():
    for group, pages in GROUPS.items():
        assert all(page.startswith("policies/") == (group == "Policies") for page in pages), group
