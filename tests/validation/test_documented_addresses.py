"""The names that the documentation imports from `resilient_tasks.data` exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

API = Path(__file__).parents[2] / "docs" / "api.md"
NAMES = re.findall(r":: (resilient_tasks\.data\.\w+)\.(\w+)", API.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module}.{name}" for module, name in NAMES])
def test_a_documented_name_can_be_imported(module, name):
    assert name in import_module(module).__all__
    assert hasattr(import_module(module), name)


def test_the_addresses_hold_no_code_of_their_own():
    for module in {module for module, _ in NAMES}:
        names = vars(import_module(module))
        assert {names[name].__module__ for name in names["__all__"]}.isdisjoint({module})
