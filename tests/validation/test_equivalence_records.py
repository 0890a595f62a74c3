"""For any pydantic model and any records, the good ones are those that the model accepts, record by record."""

import copy
import datetime as dt
from typing import Annotated, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from resilient_tasks.validation.split import split


class Address(BaseModel):
    city: str
    zip: str = Field("00000", pattern=r"^\d{5}$")


POSITIVE = Annotated[int, Field(gt=0)]
KINDS = [
    POSITIVE,
    str,
    float,
    bool | None,
    list[int],
    int | list[str],
    dt.date,
    Literal["a", "b"],
    Address,
    list[Address],
]
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["a", "1", "2013-01-01", "", "1.5"]))
PLACES = st.fixed_dictionaries(
    {"city": st.sampled_from(["Bonn", 1])}, optional={"zip": st.sampled_from(["12345", "1"])}
)
VALUES = st.one_of(PLAIN, PLACES, st.lists(st.one_of(PLAIN, PLACES), max_size=2))
RECORDS = st.one_of(st.dictionaries(st.sampled_from(["x", "y", "X", "z"]), VALUES), VALUES)


@st.composite
def models(draw):
    config = ConfigDict(
        extra=draw(st.sampled_from(["ignore", "allow", "forbid"])),
        populate_by_name=draw(st.booleans()),
        strict=draw(st.booleans()),
    )
    fields = {}
    for name, alias in (("x", "X"), ("y", "z")):
        options = draw(st.fixed_dictionaries({}, optional={"alias": st.just(alias), "default": st.none()}))
        fields[name] = (draw(st.sampled_from(KINDS)) | None, Field(**options))
    return create_model("Any", __config__=config, **fields)


def verdict(model, record):
    try:
        return model.model_validate(copy.deepcopy(record))
    except ValidationError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(models(), st.lists(RECORDS, max_size=6))
def test_good_and_bad_are_the_input_exactly_and_good_is_what_the_model_accepts(model, records):
    parts = split(records, model)
    verdicts = [verdict(model, record) for record in records]
    refused = {position for position, each in enumerate(verdicts) if isinstance(each, ValidationError)}
    assert parts.report.frame_errors == ()
    assert [position for position, _ in parts.report.rows_failed] == sorted(refused)
    assert all(ours is given for ours, given in zip(parts.bad, [records[at] for at in sorted(refused)], strict=True))
    accepted = [each for position, each in enumerate(verdicts) if position not in refused]
    assert len(parts.good) == len(accepted)
    for record, held in zip(parts.good, accepted, strict=True):
        assert type(record) is dict
        assert "Address(" not in repr(record)
        assert model.model_validate(record) == held
