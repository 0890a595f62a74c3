"""The names that the page of the API documents exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

API = Path(__file__).parents[1] / "docs" / "api.md"
NAMES = re.findall(r"auto\w+:: (resilient_tasks(?:\.\w+)+)\.(\w+)$", API.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module}.{name}" for module, name in NAMES])
def test_a_documented_name_can_be_imported(module, name):
    assert hasattr(import_module(module), name)
