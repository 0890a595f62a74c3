"""Records are validated all at once only if it makes no difference: no user function sees a record twice."""

import copy
import datetime as dt
import itertools
import uuid
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    RootModel,
    WrapValidator,
    field_validator,
    model_validator,
)

from resilient_tasks.validation import records as records_room
from resilient_tasks.validation.records import batch_validator
from resilient_tasks.validation.split import split


class Colour(Enum):
    RED = "red"


class Place(BaseModel):
    city: str
    zip: str = Field("00000", pattern=r"^\d{5}$")


class Parcel(BaseModel):
    number: int = Field(ge=0)
    colour: Colour = Colour.RED
    price: Decimal | None = None
    sent: dt.date = dt.date(2013, 1, 1)
    place: Place = Place(city="Bonn")
    former: list[Place] = []
    by_name: dict[str, Place] = Field(default_factory=dict)
    either: int | Place | list[int] = 0
    kind: Literal["a", "b"] = "a"
    tags: list[str] = Field(default_factory=list)


class Tree(BaseModel):
    number: int = Field(ge=0)
    under: "list[Tree]" = []
    beside: "Tree | None" = None


class Renamed(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int = Field(ge=0, alias="n")
    place: Place | None = None


class Held(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    number: int
    place: Place | None = None


class Configured(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, str_max_length=4, extra="forbid", validate_default=True)
    city: str
    zip: str = "too long"
    place: Place | None = None


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    number: int
    place: Place | None = None


class Numbers(RootModel[list[int]]):
    pass


NUMBERS = st.sampled_from([0, 1, -1, "2", "x", None, 1.5])
PLACES = st.fixed_dictionaries(
    {"city": st.sampled_from(["Bonn", 1])}, optional={"zip": st.sampled_from(["12345", "1"])}
)
SOME = st.one_of(PLACES, st.just(Place(city="Ulm")), NUMBERS)
PARCELS = st.fixed_dictionaries(
    {"number": NUMBERS},
    optional={
        "colour": st.sampled_from(["red", "blue"]),
        "price": NUMBERS,
        "sent": st.sampled_from(["2014-01-01", "never"]),
        "place": SOME,
        "former": st.lists(SOME, max_size=2),
        "by_name": st.dictionaries(st.sampled_from(["p", "q"]), SOME, max_size=2),
        "either": st.one_of(SOME, st.lists(NUMBERS, max_size=2)),
        "kind": st.sampled_from(["a", "c"]),
        "tags": st.lists(st.sampled_from(["t", 1]), max_size=2),
        "more": NUMBERS,
    },
)
TREES = st.recursive(
    st.fixed_dictionaries({"number": NUMBERS}),
    lambda inner: st.fixed_dictionaries({"number": NUMBERS, "under": st.lists(inner, max_size=2), "beside": inner}),
    max_leaves=4,
)
RENAMED = st.fixed_dictionaries({"n": NUMBERS}, optional={"place": SOME, "more": st.lists(NUMBERS, max_size=2)})
ODD = st.one_of(NUMBERS, st.just([1]), st.just({}), st.just(Parcel(number=1)), st.just(Place(city="Ulm")))
TEXTS = st.sampled_from([" a ", "abcd", "abcde", " abcd", 1])
CONFIGURED = st.fixed_dictionaries({"city": TEXTS}, optional={"zip": TEXTS, "place": SOME, "more": TEXTS})
CASES = {
    Parcel: PARCELS,
    Tree: TREES,
    Renamed: RENAMED,
    Held: PARCELS,
    Strict: PARCELS,
    Configured: CONFIGURED,
    Numbers: st.lists(NUMBERS, max_size=3),
}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("model", CASES)
def test_validating_all_at_once_equals_one_by_one(model, data):
    kinds = st.one_of(CASES[model], CASES[model], ODD) if data.draw(st.booleans()) else CASES[model]
    records = data.draw(st.lists(kinds, max_size=6))
    given_before = copy.deepcopy(records)
    alone = records_room._one_by_one(copy.deepcopy(records), model)
    at_once = records_room._at_once(records, model)
    assert records == given_before
    assert at_once is not None
    assert repr(at_once.good) == repr(alone.good)
    assert at_once.bad == alone.bad
    assert all(any(each is record for record in records) for each in at_once.bad)
    assert at_once.report.reasons == alone.report.reasons
    assert repr(at_once.report.rows_failed) == repr(alone.report.rows_failed)


def test_good_records_share_nothing_with_the_input_or_with_defaults():
    records = [{"number": 1, "former": [{"city": "Bonn"}], "tags": ["t"]}, {"number": 2}, {"number": 3}]
    first, second, third = split(records, Parcel).good
    first["former"][0]["city"] = first["tags"][0] = "changed"
    second["place"]["city"] = "changed"
    second["former"].append("changed")
    second["tags"].append("changed")
    assert records[0] == {"number": 1, "former": [{"city": "Bonn"}], "tags": ["t"]}
    assert third["place"] == {"city": "Bonn", "zip": "00000"}
    assert (third["former"], third["tags"]) == ([], [])
    assert Parcel(number=4).place.city == "Bonn"


@pytest.mark.parametrize("model", [Parcel, Tree, Renamed, Numbers])
def test_models_of_types_and_bounds_validate_all_records_at_once(model):
    assert batch_validator(model) is not None


def numbered():
    count = itertools.count()
    return lambda: next(count)


def with_validator(mode):
    class Validated(BaseModel):
        x: Annotated[int, mode(lambda value: value)]

    return Validated


def with_model_validator():
    class Validated(BaseModel):
        x: int

        @model_validator(mode="after")
        def check(self):
            return self

    return Validated


class Counted(BaseModel):
    x: int
    at: int = Field(default_factory=numbered())


class Started(BaseModel):
    x: int

    def model_post_init(self, context):
        pass


class Made(BaseModel):
    x: int

    def __init__(self, **values):
        super().__init__(**values)


class AnyThing(BaseModel):
    x: Any


class Wrapped(BaseModel):
    x: Annotated[int, WrapValidator(lambda value, handler: handler(value))]


class Nested(BaseModel):
    y: list[Annotated[int, AfterValidator(lambda value: value)]]


@pytest.mark.parametrize(
    "model",
    [
        *map(with_validator, [BeforeValidator, AfterValidator, PlainValidator]),
        with_model_validator(),
        Wrapped,
        Counted,
        Started,
        Made,
        AnyThing,
        Nested,
    ],
)
def test_models_with_user_functions_validate_record_by_record(model):
    assert batch_validator(model) is None


def test_a_factory_of_the_standard_library_is_not_a_user_function():
    class Marked(BaseModel):
        x: int
        id: uuid.UUID = Field(default_factory=uuid.uuid4)

    assert batch_validator(Marked) is not None
    assert len({record["id"] for record in split([{"x": 1}, {"x": 2}], Marked).good}) == 2


def test_a_validator_with_a_memory_sees_each_record_once():
    class Fresh(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def unseen(cls, value):
            if value in seen:
                raise ValueError("seen before")
            seen.add(value)
            return value

    seen = set()
    result = split([{"x": 1}, {"x": 1}, {"x": 2}, {"x": "y"}], Fresh)
    assert [record["x"] for record in result.good] == [1, 2]
    assert result.report.reasons == {("x", "seen before"): 1, ("x", "should be a valid integer"): 1}


def test_a_record_that_raises_is_found_among_the_others():
    class Broken:
        @property
        def number(self):
            raise KeyError("number")

    records = [Held(number=1), Broken(), {"number": "x"}, Held(number=3)]
    result = split(records, Held)
    assert result.good == [Held(number=1), Held(number=3)]
    assert [row for row, _ in result.report.rows_failed] == [1, 2]
    assert result.report.reasons == records_room._one_by_one(records, Held).report.reasons
