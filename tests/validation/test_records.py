"""JSON records and a pydantic model: good and bad records, reasons, and that none is lost."""

import copy
import datetime as dt
import types
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    create_model,
    field_validator,
    model_validator,
)

from resilient_tasks import InvalidData, Quarantine, Validate, resilient
from resilient_tasks.validation.schemas import fingerprint, is_schema, library
from resilient_tasks.validation.split import split


class Address(BaseModel):
    city: str
    zip: str = Field("00000", pattern=r"^\d{5}$")


class Customer(BaseModel):
    id: int
    address: Address
    visits: list[Address] = []
    since: dt.date | None = None


def one(record, model=Customer):
    """Return the reasons for a single bad record."""
    parts = split([record], model)
    assert parts.bad == [record]
    ((position, reasons),) = parts.report.rows_failed
    assert position == 0
    return [tuple(reason) for reason in reasons]


def kept(record, model):
    """Return a single good record as it is passed on."""
    parts = split([record], model)
    assert parts.bad == [], parts.report.summary()
    return parts.good[0]


def test_a_dict_stays_a_dict_with_its_values_converted_and_its_defaults_filled_in():
    assert kept({"id": "7", "address": {"city": "Bonn"}, "since": "2013-01-01"}, Customer) == {
        "id": 7,
        "address": {"city": "Bonn", "zip": "00000"},
        "visits": [],
        "since": dt.date(2013, 1, 1),
    }


def test_the_reasons_name_the_field_by_its_path_and_hold_its_value_as_read():
    record = {"id": "x", "address": {"city": "Bonn", "zip": "no"}, "visits": [{"city": 1}], "since": "1st of May"}
    assert one(record) == [
        ("id", "should be a valid integer", "x"),
        ("address.zip", r"String should match pattern '^\d{5}$'", "no"),
        ("visits[].city", "should be a valid string", 1),
        ("since", "should be a valid date or datetime", "1st of May"),
    ]


def test_a_missing_field_has_no_value():
    assert one({"address": {}}) == [("id", "is missing", None), ("address.city", "is missing", None)]


def test_a_rule_that_a_list_breaks_twice_is_one_reason_of_its_row():
    record = {"id": 1, "address": {"city": "Bonn"}, "visits": [{"city": 1}, {"city": 2}]}
    assert one(record) == [("visits[].city", "should be a valid string", 1)]
    assert split([record], Customer).report.reasons == {("visits[].city", "should be a valid string"): 1}


def test_the_members_of_a_union_are_no_part_of_a_path():
    class Either(BaseModel):
        x: int | list[int]

    assert [reason[0] for reason in one({"x": "a"}, Either)] == ["x", "x"]


def test_an_error_about_the_whole_record_has_no_column():
    class Span(BaseModel):
        start: int
        end: int

        @model_validator(mode="after")
        def _in_order(self):
            if self.end < self.start:
                raise ValueError("end before start")
            return self

    assert one({"start": 2, "end": 1}, Span) == [("*", "end before start", None)]


@pytest.mark.parametrize("record", [None, 5, "text", [], [1]])
def test_a_record_that_is_no_mapping_is_a_bad_row(record):
    good = {"id": 1, "address": {"city": "Bonn"}}
    parts = split([good, record], Customer)
    assert len(parts.good) == 1
    assert parts.bad == [record]
    assert parts.report.rows_failed == ((1, (("*", "should be a valid dictionary or instance of Customer", None),)),)


@pytest.mark.parametrize("document", [{"error": "rate limited"}, "text", None, 5, True])
def test_a_document_that_is_not_a_list_is_a_frame_error(document):
    parts = split(document, Customer)
    assert (parts.good, parts.bad) == (document, [])
    assert parts.report.frame_errors == (f"the data is a {type(document).__name__}, not a list of records",)


@pytest.mark.parametrize("data", [pd.DataFrame({"id": [1]}), iter([]), b"[]", (1,)])
def test_data_that_is_not_json_is_refused(data):
    with pytest.raises(TypeError, match="A pydantic model is for a list of records and the data is a "):
        split(data, Customer)


def test_no_records_are_no_bad_records():
    parts = split([], Customer)
    assert (parts.good, parts.bad, parts.report.rows) == ([], [], 0)


def test_a_validator_that_crashes_drops_no_record():
    class Fragile(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _crash(cls, x):
            return {1: 1, 2: 2}[x]

    records = [{"x": 1}, {"x": "a"}, {"x": 3}]
    parts = split(records, Fragile)
    assert (parts.good, parts.bad, parts.report.invalid) == (records, [], 0)
    assert parts.report.frame_errors == ("record 2: the model raised KeyError: 3",)


def test_a_validator_that_rewrites_its_record_changes_none_as_read():
    class Renamed(BaseModel):
        x: int

        @model_validator(mode="before")
        @classmethod
        def _rename(cls, record):
            record["x"] = record.pop("old")["value"].pop()
            return record

    records = [{"old": {"value": [1]}}, {"old": {"value": ["no"]}}]
    before = copy.deepcopy(records)
    parts = split(records, Renamed)
    assert records == before
    assert (parts.good, parts.bad) == ([{"x": 1}], before[1:])


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    a: int = Field(alias="A")
    b: int = Field(0, validation_alias=AliasChoices("B", "bee"))
    c: int = Field(0, serialization_alias="see")


def test_fields_are_under_the_keys_they_were_read_from():
    assert kept({"A": "1", "bee": "2", "c": "3"}, Aliased) == {"A": 1, "bee": 2, "c": 3}
    assert kept({"a": "1", "b": "2"}, Aliased) == {"a": 1, "b": 2, "c": 0}


def test_nested_fields_are_too():
    class Both(BaseModel):
        many: list[Aliased]
        named: dict[int, Aliased]

    read = {"many": [{"a": 1, "bee": 2, "c": 3}], "named": {"1": {"a": 1, "b": 2, "c": 3}}}
    assert kept(read, Both) == {"many": read["many"], "named": {1: read["named"]["1"]}}


def test_a_default_is_under_the_alias():
    assert kept({"a": 1}, Aliased) == {"a": 1, "B": 0, "c": 0}


def test_a_name_that_the_model_does_not_read_is_not_taken_for_its_field():
    class Strict(BaseModel):
        a: int = Field(0, alias="A")

    assert kept({"a": 5}, Strict) == {"A": 0}


def test_an_alias_that_the_model_does_not_read_is_not_taken_for_its_field():
    class Named(BaseModel):
        model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
        a: int = Field(0, alias="A")

    assert kept({"A": 5}, Named) == {"a": 0}


def test_a_value_read_by_a_path_is_under_the_name_of_the_field():
    class Deep(BaseModel):
        first: str = Field(validation_alias=AliasPath("names", 0))

    assert kept({"names": ["Ann", "Lee"]}, Deep) == {"first": "Ann"}


@pytest.mark.parametrize(("extra", "expected"), [("ignore", {"x": 1}), ("allow", {"x": 1, "y": {"z": "2"}})])
def test_an_extra_field_is_kept_or_dropped_as_the_model_says(extra, expected):
    model = create_model("Extra", __config__=ConfigDict(extra=extra), x=int)
    assert kept({"x": "1", "y": {"z": "2"}}, model) == expected


def test_an_extra_field_that_the_model_forbids_is_a_reason():
    model = create_model("Extra", __config__=ConfigDict(extra="forbid"), x=int)
    assert one({"x": 1, "y": 2}, model) == [("y", "is not in the model", 2)]


def test_serializers_and_exclusion_are_not_used():
    class Shown(BaseModel):
        x: Annotated[int, PlainSerializer(str)]
        secret: str = Field(exclude=True)

    assert kept({"x": 1, "secret": "s"}, Shown) == {"x": 1, "secret": "s"}


def test_models_are_plain_inside_of_every_container():
    class Nest(BaseModel):
        by_name: dict[str, Address]
        pair: tuple[int, Address]
        root: RootModel[dict[int, Address]]

    bonn, with_zip = {"city": "Bonn"}, {"city": "Bonn", "zip": "00000"}
    assert kept({"by_name": {"b": bonn}, "pair": [1, bonn], "root": {"1": bonn}}, Nest) == {
        "by_name": {"b": with_zip},
        "pair": (1, with_zip),
        "root": {1: with_zip},
    }


def test_a_model_made_by_a_default_or_a_validator_is_plain_too():
    class Filled(BaseModel):
        home: Address = Address(city="Bonn")
        places: Annotated[list[Address], Field(default_factory=list), AfterValidator(lambda found: [*found, *found])]

    with_zip = {"city": "Ulm", "zip": "00000"}
    good = kept({"places": [{"city": "Ulm"}]}, Filled)
    assert good == {"home": {"city": "Bonn", "zip": "00000"}, "places": [with_zip, with_zip]}


def test_an_instance_stays_an_instance():
    ann = Customer(id=1, address=Address(city="Bonn"))
    assert kept(ann, Customer) is ann
    assert kept({"id": 1, "address": ann.address}, Customer)["address"] is ann.address


def test_an_object_becomes_an_instance_and_its_reasons_name_its_attributes():
    @dataclass
    class Row:
        city: object

    model = create_model("Loose", __base__=Address, __config__=None)
    model.model_config["from_attributes"] = True
    model.model_rebuild(force=True)
    assert kept(Row("Bonn"), model) == model(city="Bonn")
    assert one(Row(5), model) == [("city", "should be a valid string", 5)]


def test_a_mapping_that_is_no_dict_is_a_record_too():
    assert kept(types.MappingProxyType({"city": "Bonn"}), Address) == {"city": "Bonn", "zip": "00000"}


def test_the_quarantine_keeps_bad_records_as_read(tmp_path):
    records = [{"id": "x", "address": {"city": "Bonn"}}, 5, {"id": 2, "address": {"city": "Bonn"}}, {"id": 3}]
    store = Quarantine(tmp_path)
    path = store.write(split(records, Customer), operation="fetch", batch="b1", schema=Customer)
    batch = store.read(path)
    assert batch["values"].tolist() == [records[0], records[1], records[3]]
    assert batch["row"].tolist() == [0, 1, 3]
    assert batch["reasons"][0] == [{"column": "id", "check": "should be a valid integer", "value": "x"}]
    assert set(batch["schema"]) == {fingerprint(Customer)}


def test_the_quarantine_keeps_the_fields_of_a_bad_instance(tmp_path):
    ann = Customer(id=1, address=Address(city="Bonn"))
    ann.id = "x"
    model = create_model("Again", __base__=Customer)
    model.model_config["revalidate_instances"] = "always"
    store = Quarantine(tmp_path)
    path = store.write(split([ann], model), operation="fetch", batch="b1")
    values = store.read(path)["values"][0]
    assert (values["id"], values["address"]["city"]) == ("x", "Bonn")


def test_a_model_checks_the_result_and_the_arguments_of_a_function(tmp_path):
    def both(rows, n):
        return [*rows, {"city": n}]

    store = Quarantine(tmp_path)
    policy = Validate(input={"rows": Address}, output=Address, on_invalid="quarantine", quarantine=store)
    checked = resilient(validate=policy)(both)
    assert checked([{"city": "Bonn"}, {"zip": 5}], 5) == [{"city": "Bonn", "zip": "00000"}]
    assert store.rows() == 2
    with pytest.raises(InvalidData, match="the data is a dict, not a list of records"):
        resilient(validate=Address)(lambda: {"error": "rate limited"})()


def test_a_model_is_a_schema_and_its_instance_is_not():
    assert library(Customer) == "pydantic"
    assert is_schema(Customer)
    assert not is_schema(Address(city="Bonn"))
    with pytest.raises(TypeError, match="or a pydantic model for a list of JSON records; a dict is none of these"):
        split([], {"city": str})
