"""A function is pickled again only if something it uses has changed, and then always."""

import gc
import sys
import textwrap
import types
import weakref

import cloudpickle
import pytest

from resilient_tasks.subprocess import serialization

SOURCE = """
import collections, math
from math import sqrt
from pathlib import Path

factor = 2
rows = [1]

def helper(value):
    return value

class Shop:
    name = "Ann's"

def plain(value): return value
def with_a_global(value): return value * factor
def with_a_list(value): return rows
def with_modules(value): return math.sqrt(value), sqrt(value), Path(str(value)), collections.OrderedDict
def with_a_helper(value): return helper(value)
def with_a_class(value): return Shop.name
def with_defaults(value, more=1, *, most=(2, "a")): return value + more
def annotated(value: int) -> "str": return value
def nested(value): return [factor * each for each in value], lambda: math
def missing(value): return not_there
"""


@pytest.fixture
def script():
    """A module that no other interpreter can import, such as `__main__`."""
    module = types.ModuleType("a_script")
    exec(SOURCE, vars(module))
    return module


def same(fn):
    return serialization.dump_function(fn, "work") is serialization.dump_function(fn, "work")


def comes_out(fn, *args):
    """Return the result of `fn` as the other end gets it, without the globals of this end."""
    return cloudpickle.loads(serialization.dump_function(fn, "work"))(*args)


@pytest.mark.parametrize(
    "name", ["plain", "with_a_global", "with_modules", "with_defaults", "annotated", "nested", "missing"]
)
def test_a_function_is_pickled_once(name, script):
    assert same(getattr(script, name))


def test_a_function_that_goes_by_name_is_pickled_once():
    assert same(textwrap.dedent)


def test_a_local_function_is_pickled_once():
    factor = 3
    assert same(lambda value: value * factor)


@pytest.mark.parametrize("name", ["with_a_list", "with_a_helper", "with_a_class"])
def test_a_function_that_uses_mutable_values_is_pickled_each_time(name, script):
    assert not same(getattr(script, name))


def test_a_changed_list_and_a_changed_class_arrive(script):
    assert comes_out(script.with_a_list, 1) == [1]
    script.rows.append(2)
    assert comes_out(script.with_a_list, 1) == [1, 2]
    assert comes_out(script.with_a_class, 1) == "Ann's"
    script.Shop.name = "Bob's"
    assert b"Bob's" in serialization.dump_function(script.with_a_class, "work")


def _global(script):
    script.factor = 3


def _another_type(script):
    script.factor = 2.0


def _gone(script):
    del script.factor


@pytest.mark.parametrize("change", [_global, _another_type, _gone])
def test_a_changed_global_arrives(change, script):
    before = serialization.dump_function(script.with_a_global, "work")
    change(script)
    after = serialization.dump_function(script.with_a_global, "work")
    assert after != before
    assert same(script.with_a_global)


def _defaults(fn):
    fn.__defaults__ = (5,)


def _kwdefaults(fn):
    fn.__kwdefaults__["most"] = 5


def _attribute(fn):
    fn.note = "a"


def _annotation(fn):
    fn.__annotations__["value"] = str


def _doc(fn):
    fn.__doc__ = "Work."


def _name(fn):
    fn.__qualname__ = "another"


def _code(fn):
    fn.__code__ = (lambda value, more=1, *, most: 7).__code__


@pytest.mark.parametrize("change", [_defaults, _kwdefaults, _attribute, _annotation, _doc, _name, _code])
def test_a_changed_part_of_the_function_arrives(change, script):
    before = serialization.dump_function(script.with_defaults, "work")
    change(script.with_defaults)
    assert serialization.dump_function(script.with_defaults, "work") != before
    assert same(script.with_defaults)


def test_a_changed_variable_of_a_local_function_arrives():
    factor = 2

    def times(value):
        return value * factor

    assert comes_out(times, 2) == 4
    factor = 3
    assert comes_out(times, 2) == 6
    factor = [3]
    assert comes_out(times, 2) == [3, 3]
    factor.append(4)
    assert comes_out(times, 1) == [3, 4]


def test_an_unset_variable_of_a_local_function_is_no_error():
    def first():
        return second()

    assert same(first)

    def second():
        return 1

    assert comes_out(first) == 1


def test_a_list_in_a_default_or_an_attribute_is_pickled_each_time(script):
    fn = script.with_defaults
    fn.__defaults__ = ([1],)
    assert comes_out(fn, [0]) == [0, 1]
    fn.__defaults__[0].append(2)
    assert comes_out(fn, [0]) == [0, 1, 2]
    fn.notes = []
    fn.__defaults__ = (1,)
    assert not same(fn)


def test_a_submodule_that_is_imported_later_is_sent_too(script, monkeypatch):
    script.package = types.ModuleType("a_package")
    script.package.__package__ = "a_package"
    monkeypatch.setitem(sys.modules, "a_package", script.package)
    exec("def uses(value): return package.part", vars(script))
    before = serialization.dump_function(script.uses, "work")
    script.package.part = types.ModuleType("a_package.part")
    monkeypatch.setitem(sys.modules, "a_package.part", script.package.part)
    assert serialization.dump_function(script.uses, "work") != before


def test_a_module_registered_by_value_is_pickled_each_time():
    before = serialization.dump_function(textwrap.dedent, "work")
    cloudpickle.register_pickle_by_value(textwrap)
    try:
        assert len(serialization.dump_function(textwrap.dedent, "work")) > len(before)
        assert not same(textwrap.dedent)
    finally:
        cloudpickle.unregister_pickle_by_value(textwrap)
    assert serialization.dump_function(textwrap.dedent, "work") == before


def test_a_function_whose_name_leads_to_another_now_is_pickled_again(monkeypatch):
    original = textwrap.dedent
    before = serialization.dump_function(original, "work")

    def taken(text): ...

    taken.__wrapped__ = original
    monkeypatch.setattr(textwrap, "dedent", taken)
    assert serialization.dump_function(original, "work") != before
    assert same(original)


def test_no_function_is_kept_alive():
    def dumped():
        def recursive(value):
            return recursive(value - 1) if value else 0

        def other():
            return 1

        assert same(other)
        assert serialization.dump_function(recursive, "work")
        return weakref.ref(recursive), weakref.ref(other)

    held = dumped()
    gc.collect()
    assert [ref() for ref in held] == [None, None]
