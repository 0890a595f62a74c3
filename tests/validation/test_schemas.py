"""Schemas, and their fingerprints."""

import os
import subprocess
import sys
import textwrap
from typing import Annotated

import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import pytest
from pydantic import AfterValidator, BaseModel, Field, create_model

from resilient_tasks.validation.schemas import as_schema, check_schema, fingerprint, is_schema, library


class PandasModel(pa.DataFrameModel):
    x: int


class PolarsModel(ppl.DataFrameModel):
    x: int


class PydanticModel(BaseModel):
    x: int


def of(check):
    return pa.DataFrameSchema({"x": pa.Column(int, check)})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (pa.DataFrameSchema({}), "pandas"),
        (PandasModel, "pandas"),
        (ppl.DataFrameSchema({}), "polars"),
        (PolarsModel, "polars"),
        (PydanticModel, "pydantic"),
    ],
)
def test_schemas_and_models_of_every_library_are_schemas(schema, expected):
    assert is_schema(schema)
    assert library(schema) == expected
    check_schema(schema)


@pytest.mark.parametrize(
    "other", [None, 5, {"x": int}, dict, pa.Column(int), pa.Check.ge(0), pa.DataFrameSchema, PydanticModel(x=1)]
)
def test_anything_else_is_refused_with_what_is_accepted(other):
    assert not is_schema(other)
    with pytest.raises(TypeError, match="A schema is a pandera DataFrameSchema or a DataFrameModel subclass"):
        check_schema(other)


def test_a_model_of_records_is_not_a_schema_of_a_frame():
    with pytest.raises(TypeError, match="PydanticModel is a pydantic model, for a list of records"):
        as_schema(PydanticModel)


def test_a_fingerprint_is_twelve_hexadecimal_digits():
    assert len(fingerprint(PandasModel)) == 12
    int(fingerprint(PandasModel), 16)


def test_equal_rules_have_equal_fingerprints():
    assert fingerprint(of(pa.Check.ge(0))) == fingerprint(of(pa.Check.ge(0)))


@pytest.mark.parametrize(
    "changed",
    [
        of(pa.Check.ge(1)),
        of(pa.Check.le(0)),
        of(pa.Check.ge(0, raise_warning=True)),
        pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0), nullable=True)}),
        pa.DataFrameSchema({"x": pa.Column(float, pa.Check.ge(0))}),
        pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0))}, strict=True),
        pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0))}, index=pa.Index(int)),
        pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0), parsers=pa.Parser(abs))}),
        ppl.DataFrameSchema({"x": ppl.Column(int, ppl.Check.ge(0))}),
    ],
)
def test_a_changed_rule_changes_the_fingerprint(changed):
    assert fingerprint(changed) != fingerprint(of(pa.Check.ge(0)))


def test_the_code_of_a_custom_check_counts():
    assert fingerprint(of(pa.Check(lambda s: s > 1))) == fingerprint(of(pa.Check(lambda s: s > 1)))
    assert fingerprint(of(pa.Check(lambda s: s > 1))) != fingerprint(of(pa.Check(lambda s: s > 2)))
    assert fingerprint(of(pa.Check(lambda s: s > 1))) != fingerprint(of(pa.Check(lambda s: s >= 1)))


def test_a_value_that_a_custom_check_closes_over_counts():
    def above(limit):
        return of(pa.Check(lambda s: s > limit))

    assert fingerprint(above(1)) == fingerprint(above(1))
    assert fingerprint(above(1)) != fingerprint(above(2))


def model(function, **field):
    return create_model("Model", x=(Annotated[int, AfterValidator(function)], Field(**field)))


def test_equal_models_have_equal_fingerprints():
    assert fingerprint(model(lambda x: x + 1)) == fingerprint(model(lambda x: x + 1))


@pytest.mark.parametrize(
    "changed",
    [
        model(lambda x: x + 2),
        model(lambda x: x + 1, gt=0),
        model(lambda x: x + 1, alias="X"),
        model(lambda x: x + 1, default=5),
        create_model("Model", __base__=model(lambda x: x + 1), metadata=(int, 1)),
        create_model("Model", __base__=model(lambda x: x + 1), __config__=None, y=(int, ...)),
    ],
)
def test_a_changed_rule_or_validator_changes_the_fingerprint(changed):
    assert fingerprint(changed) != fingerprint(model(lambda x: x + 1))


class Doubling(PandasModel):
    """Overrides `validate`."""

    @classmethod
    def validate(cls, check_obj, *args, **options):
        return super().validate(check_obj * 2, *args, **options)


class Squaring(PandasModel):
    @classmethod
    def validate(cls, check_obj, *args, **options):
        return super().validate(check_obj**2, *args, **options)

    class Config:
        name = "Doubling"


class Capped(pa.DataFrameSchema):
    def validate(self, check_obj, *args, **options):
        return super().validate(check_obj, *args, **options).clip(upper=9)


def test_the_overridden_validate_of_a_model_is_in_its_schema():
    frame = pd.DataFrame({"x": [1, 2]})
    assert as_schema(Doubling).validate(frame)["x"].tolist() == [2, 4]
    assert as_schema(PandasModel).validate(frame)["x"].tolist() == [1, 2]
    with pytest.raises(pa.errors.SchemaError, match="to have type int64, got float64"):
        as_schema(Doubling).validate(frame.astype(float))


def test_an_overridden_validate_changes_the_fingerprint():
    columns = {"x": pa.Column(int, pa.Check.ge(0))}
    assert fingerprint(Capped(columns)) == fingerprint(Capped(columns))
    assert fingerprint(Capped(columns)) != fingerprint(pa.DataFrameSchema(columns))
    assert fingerprint(Doubling) == fingerprint(as_schema(Doubling))
    assert fingerprint(Doubling) != fingerprint(Squaring)


def test_a_fingerprint_is_the_same_in_every_process():
    program = textwrap.dedent("""
        import pandera.pandas as pa
        from pydantic import BaseModel
        from resilient_tasks.validation.schemas import fingerprint
        class Model(pa.DataFrameModel):
            x: str = pa.Field(isin={"a", "b", "c", "d"})
            @pa.check("x")
            def known(cls, series):
                return series.map(lambda text: text in {"a", "b", "c", "d"})
        class Part(BaseModel):
            names: set[str] = {"a", "b", "c"}
            parts: list["Part"] = []
        print(fingerprint(Model), fingerprint(Part))
    """)
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_the_rooms_load_no_data_library_until_they_are_used():
    program = textwrap.dedent("""
        import importlib, pkgutil, sys
        for name in ("storage", "validation", "quarantine", "chunks"):
            room = importlib.import_module(f"resilient_tasks.{name}")
            for module in pkgutil.iter_modules(room.__path__):
                importlib.import_module(f"{room.__name__}.{module.name}")
        from resilient_tasks.validation.schemas import is_schema
        assert not is_schema(5)
        heavy = {"pandas", "polars", "pandera", "pyarrow", "pydantic"} & set(sys.modules)
        assert not heavy, heavy
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
