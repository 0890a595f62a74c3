"""Wrong data: a copy that differs, and that a schema refuses if there is one."""

import dataclasses
from typing import NamedTuple

import pandas as pd
import pandera.pandas as pa
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from resilient_tasks import Validate
from resilient_tasks.rehearsal.mutation import NONE, mutated, refused
from resilient_tasks.rehearsal.values import flattened

KINDS = ("null", "type", "range", "column", "duplicate", "truncated", "empty")
FRAME = pd.DataFrame({"carrier": ["UA", "DL"], "distance": [1400, 800]})
SCHEMA = pa.DataFrameSchema(
    {"carrier": pa.Column(str, pa.Check.isin(["UA", "DL"])), "distance": pa.Column(int, pa.Check.ge(0))}
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
DATA = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))


class Flight(BaseModel):
    carrier: str
    distance: int


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Reading:
    degrees: float


@given(DATA, st.sampled_from(KINDS))
def test_changed_data_differs_and_the_original_stays_as_it_was(value, kind):
    before = flattened(value)
    changed = mutated(value, kind)
    assert flattened(value) == before
    assert changed is NONE or flattened(changed) != before


@pytest.mark.parametrize("frame", [FRAME, pl.DataFrame(FRAME.to_dict("list"))], ids=["pandas", "polars"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_a_frame(frame, kind):
    changed = mutated(frame, kind)
    assert type(changed) is type(frame)
    assert flattened(changed) != flattened(frame)


@pytest.mark.parametrize("kind", ["null", "type", "range", "column"])
def test_a_frame_with_a_schema_is_changed_so_that_the_schema_refuses_it(kind):
    policy = Validate(output=SCHEMA, on_invalid="quarantine", max_invalid=0.9)
    assert not refused(FRAME, policy)
    assert refused(mutated(FRAME, kind, policy), policy)


@pytest.mark.parametrize("kind", ["null", "range", "type", "column"])
def test_a_change_is_refused_for_itself_if_the_data_has_bad_rows_already(kind):
    policy = Validate(output=SCHEMA, on_invalid="quarantine")
    dirty = pd.concat([FRAME, FRAME.assign(distance=-1)], ignore_index=True)
    more = refused(mutated(dirty, kind, policy), policy) - refused(dirty, policy)
    assert sum(more.values()) > 0
    assert mutated(dirty, "truncated", policy) is NONE


def test_a_change_that_the_schema_allows_is_none():
    assert mutated(FRAME, "duplicate", Validate(output=SCHEMA)) is NONE
    assert mutated(FRAME, "empty", Validate(output=SCHEMA, min_rows=1)).empty


def test_records_with_a_model_are_changed_so_that_the_model_refuses_them():
    records, policy = [{"carrier": "UA", "distance": 1400}], Validate(output=Flight)
    assert mutated(records, "column", policy) == [{"carrier": "UA"}]
    assert mutated(records, "null", policy) == [{"carrier": None, "distance": None}]


@pytest.mark.parametrize(
    ("value", "kind", "changed"),
    [
        ({"n": 1}, "column", {}),
        ({"n": 1}, "type", {"n": "1 ?"}),
        ({"n": 1, "text": "a"}, "range", {"n": -1_000_000_007, "text": "a"}),
        ([1, 2], "truncated", [1]),
        ((1, 2), "duplicate", (1, 1, 2)),
        (Point(1, 2), "null", Point(None, 2)),
        (Reading(21.5), "null", Reading(None)),
        (Flight(carrier="UA", distance=1), "null", Flight.model_construct(carrier=None, distance=1)),
        ("text", "truncated", "te"),
        (None, "null", NONE),
        (True, "range", NONE),
    ],
)
def test_other_data_is_changed_in_its_parts(value, kind, changed):
    assert mutated(value, kind) == changed


def test_frames_with_equal_values_are_equal_and_others_name_the_column():
    other = FRAME.assign(distance=[1400, 801])
    assert flattened(FRAME) == flattened(FRAME.copy())
    assert [path for path, text in flattened(other).items() if flattened(FRAME)[path] != text] == ["result['distance']"]
