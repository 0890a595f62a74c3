"""The page on the architecture: its pictures and its tree of errors show the code as it is."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import resilient_tasks

ROOT = Path(resilient_tasks.__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def _script():
    path = ROOT / "docs" / "pictures" / "architecture.py"
    spec = importlib.util.spec_from_file_location("pictures_of_the_architecture", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
STOPS = [(trip, number, stop) for trip, stops in SCRIPT.TRIPS.items() for number, stop in enumerate(stops, 1)]
each_stop = pytest.mark.parametrize("stop", [stop for *_, stop in STOPS], ids=[f"{trip} {at}" for trip, at, _ in STOPS])


@pytest.mark.parametrize(("name", "content"), [*SCRIPT.pictures()], ids=lambda value: value[:30])
def test_a_picture_is_the_one_that_the_script_draws(name, content):
    drawn = (ROOT / "docs" / "images" / name).read_text(encoding="utf-8")
    assert drawn == content, "run docs/pictures/architecture.py"
    assert f"](images/{name})" in PAGE


@each_stop
def test_a_stop_of_a_trip_is_in_the_code(stop):
    if not stop.where:
        return
    file, _, name = stop.where.partition(" ")
    assert file.partition("/")[0] == stop.room
    source = (ROOT / "resilient_tasks" / file).read_text(encoding="utf-8")
    assert not name or re.search(rf"^(class |def |){name}\b", source, re.MULTILINE), f"{file} has no {name}"


def test_every_room_is_on_a_floor():
    rooms = {path.parent.name for path in (ROOT / "resilient_tasks").glob("*/__init__.py")}
    assert rooms <= {room for floor in SCRIPT.floors() for room in floor}
    assert all(SCRIPT.purpose(room) for room in rooms)


def test_the_tree_of_errors_is_that_of_the_classes():
    block = PAGE.partition("## The errors")[2].partition("```text\n")[2].partition("```")[0]
    shown, above = {}, []
    for line in block.splitlines():
        inside, name, others = re.fullmatch(r"([│├└─ ]*)(\w+(?:, \w+)*)(?: +also (.+))?", line).groups()
        depth = len(inside) // 4
        del above[depth:]
        if depth:
            shown[name] = {*above[-1].split(", "), *(others or "").split(", ")} - {""}
        above.append(name)
    errors = [getattr(resilient_tasks, name) for name in resilient_tasks.__all__]
    errors = [error for error in errors if inspect.isclass(error) and issubclass(error, Exception)]
    assert shown == {error.__name__: {base.__name__ for base in error.__bases__} for error in errors}


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", PAGE))))
def test_a_place_that_the_page_names_is_there(place):
    assert (ROOT / "resilient_tasks" / place).exists() or (ROOT / place).exists()
