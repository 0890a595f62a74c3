"""Keys of arguments: equal for equal ones in every process, different for different ones, otherwise refused."""

import dataclasses
import datetime as dt
import enum
import functools
import subprocess
import sys
from collections import OrderedDict
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks.core.keys.stable_keys import UnstableKeyError, key_of, key_of_call
from resilient_tasks.storage.results import key_parts


class Airport(enum.Enum):
    JFK = "JFK"
    LGA = "LGA"


@dataclasses.dataclass
class Window:
    start: int
    end: int


class Query(pydantic.BaseModel):
    month: str
    top: int = 5


VALUES = [
    *(None, True, 0, 1, -1, 1.0, "1", b"1", "", (), [], {}, (1,), [1], {1}, {"a": 1}, {"a": "1"}, [[1]], ["1", "2"]),
    *(["12"], "\ud800", 10**40, float("inf"), complex(1, 2), Ellipsis, range(3), slice(3), Decimal("1.0"), Decimal(1)),
    *(dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.time(1)),
    *(dt.timedelta(1), ZoneInfo("Europe/Berlin"), UUID(int=1), Path("a"), Airport.JFK, Airport.LGA),
    *(Window(1, 2), Window(1, 3), Query(month="07"), Query(month="07", top=6), Window, Query, len),
    *(functools.partial(int, base=2), functools.partial(int, base=3)),
    *(np.int64(1), np.array([1, 2]), np.array([[1, 2]]), np.array([1.0, 2.0]), np.array(["a", None], dtype=object)),
    *(pd.Timestamp("2026-01-02"), pd.NaT, pd.Period("2026-01"), pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    *(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1]}, index=[9]), pd.Series([1]), pd.Series([1], name="x")),
    *(pl.DataFrame({"a": [1]}), pl.Series([1]), pa.table({"a": [1]})),
]


def test_different_values_have_different_keys():
    keys = {}
    for value in VALUES:
        key = key_of(value, key_parts)
        assert key not in keys, f"{value!r} has the key of {keys[key]!r}"
        keys[key] = value
    assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, OrderedDict(a=1)),
        ({"x", "y", "z"}, frozenset({"z", "y", "x"})),
        (Window(1, 2), Window(1, 2)),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (pd.DataFrame({"a": [1, 2]}).iloc[1:].reset_index(drop=True), pd.DataFrame({"a": [2]})),
        (pa.chunked_array([[1], [2]]).combine_chunks().to_pylist(), [1, 2]),
        (
            pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})]),
            pa.table({"a": [1, 2]}),
        ),
        (pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False), pl.DataFrame({"a": [1, 2]})),
    ],
)
def test_equal_values_have_the_same_key(one, other):
    assert key_of(one, key_parts) == key_of(other, key_parts)


PROGRAM = """
from collections import *
from resilient_tasks.core.keys.stable_keys import key_of
import datetime
sets = {"b": {1, 2}, "a": frozenset("abc")}
print(key_of([{"x", "y", ("z", 1), None}, sets, datetime.date(2026, 1, 1), OrderedDict]))
"""


def test_a_key_is_the_same_in_every_process_whatever_its_hash_seed():
    keys = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


WRITTEN = """
import dataclasses
from resilient_tasks.core.parameters.signatures import module_of
from resilient_tasks.core.keys.stable_keys import key_of_call

@dataclasses.dataclass
class Window:
    start: int

def fetch(window):
    pass

print(module_of(fetch), key_of_call(fetch, (Window(1),), {}))
"""


def test_a_program_has_the_same_keys_as_when_imported(tmp_path):
    (tmp_path / "etl.py").write_text(WRITTEN)
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)])}
    commands = [["etl.py"], ["-c", "import etl"], ["-m", "etl"]]
    said = {
        subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for command in commands
    }
    assert len(said) == 1
    assert said.pop().startswith("etl ")


def loop():
    inner = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "an object has no stable key"),
        ([object()], "an object has no stable key"),
        ({"a": lambda: 0}, "a function has no stable key"),
        ((item for item in "ab"), "a generator has no stable key"),
        (iter([1]), "a list_iterator has no stable key"),
        (loop(), "contains itself"),
        (pl.LazyFrame({"a": [1]}), "a LazyFrame has no stable key"),
    ],
)
def test_a_value_without_an_identity_is_refused(value, message):
    with pytest.raises(UnstableKeyError, match=message):
        key_of(value, key_parts)


@pytest.mark.parametrize("depth", [101, 200])
def test_a_value_that_is_nested_too_deeply_is_refused(depth):
    nested = functools.reduce(lambda inner, _: [inner], range(depth), 1)
    with pytest.raises(UnstableKeyError, match="nested too deeply"):
        key_of(nested)


def test_a_value_may_be_nested_a_hundred_times():
    assert key_of(functools.reduce(lambda inner, _: [inner], range(100), 1))


def test_a_refused_generator_is_not_consumed():
    items = (item for item in "ab")
    with pytest.raises(UnstableKeyError):
        key_of(items)
    assert list(items) == ["a", "b"]


SESSION = object()


def fetch(month, *more, top=5, session=SESSION, **options):
    pass


class TestCalls:
    def test_a_default_has_the_same_key_as_the_explicit_value(self):
        assert key_of_call(fetch, ("07",), {}) == key_of_call(fetch, (), {"month": "07", "top": 5})

    def test_keywords_may_come_in_any_order(self):
        assert key_of_call(fetch, ("07",), {"a": 1, "b": 2}) == key_of_call(fetch, ("07",), {"b": 2, "a": 1})

    def test_an_argument_that_has_no_key_is_named(self):
        with pytest.raises(UnstableKeyError, match="session: an object has no stable key"):
            key_of_call(fetch, ("07",), {"session": object()})

    def test_arguments_bound_by_a_partial_count(self):
        keys = {key_of_call(functools.partial(fetch, month), (), {}) for month in ("07", "08")}
        assert len(keys) == 2
        assert key_of_call(fetch, ("07",), {}) in keys

    def test_arguments_that_do_not_fit_are_no_key(self):
        with pytest.raises(TypeError):
            key_of_call(fetch, (), {})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(plain, plain)
def test_keys_are_equal_only_where_the_values_are_written_alike(one, other):
    def written(value):
        if isinstance(value, dict):
            return f"{{{sorted((key, written(each)) for key, each in value.items())}}}"
        return f"[{[*map(written, value)]}]" if isinstance(value, list) else f"{type(value)}{value!r}"

    assert (key_of(one) == key_of(other)) == (written(one) == written(other))
