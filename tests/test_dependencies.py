"""What the package imports is declared in pyproject.toml, and what is declared is used."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "resilient_tasks"
#: Imported under a name that is not the package's, or as part of another package.
PART_OF = {"pydantic_core": "pydantic", "opentelemetry": "opentelemetry-api"}
#: Imported, and not declared.
UNDECLARED = {"pytest": "it is what loads the plugin"}
#: Declared, and not imported.
UNUSED = {
    "fastapi": "bounds what Prefect allows",
    "sqlalchemy": "bounds what Prefect allows",
    "s3fs": "fsspec imports it for s3://",
    "opentelemetry-sdk": "the application sets it up",
}
#: The rooms that import an extra's packages.
ROOMS_OF_EXTRAS = {
    "redis": {"state"},
    "scipy": {"validation"},
    "prometheus-client": {"observe"},
    "opentelemetry-api": {"observe"},
    "aiosmtpd": {"testing"},
    "trustme": {"testing"},
}
FOR_US = {"demo", "dev"}


def imports():
    """Yield the package and the room of each import of another project."""
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - {"resilient_tasks"} - sys.stdlib_module_names:
                yield PART_OF.get(name, name).replace("_", "-"), room


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names_of(requirements):
    return {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}


REQUIRED = names_of(project()["dependencies"])
EXTRAS = {name: names_of(needs) for name, needs in project()["optional-dependencies"].items() if name not in FOR_US}
OPTIONAL = set().union(*EXTRAS.values())


@pytest.fixture(scope="module")
def imported():
    return sorted(set(imports()))


def test_what_a_room_imports_is_declared(imported):
    declared = REQUIRED | UNDECLARED.keys()
    assert [
        (package, room)
        for package, room in imported
        if package not in declared and room not in ROOMS_OF_EXTRAS.get(package, ())
    ] == []


def test_what_is_declared_is_imported(imported):
    imported = {package for package, _ in imported}
    assert (imported | UNUSED.keys()) - UNDECLARED.keys() == REQUIRED | OPTIONAL
    assert not imported & UNUSED.keys()


def test_no_extra_is_required_without_it():
    assert not REQUIRED & OPTIONAL
    assert OPTIONAL - UNUSED.keys() == ROOMS_OF_EXTRAS.keys()


def test_each_dependency_has_its_lowest_version():
    bounded = [
        *project()["dependencies"],
        *(need for name in EXTRAS for need in project()["optional-dependencies"][name]),
    ]
    assert [need for need in bounded if ">=" not in need] == ["sqlalchemy<2.1"]  # Prefect has its own lowest


def test_each_extra_is_documented():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for name, needs in EXTRAS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert set(re.findall(r"`([\w-]+)`", row.split("|")[2])) == needs
