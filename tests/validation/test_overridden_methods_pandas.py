"""Schemas, columns, indexes, checks and models that override pandera's methods are called, not read."""

import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.backends.pandas.checks import PandasCheckBackend
from pandera.backends.pandas.components import ColumnBackend
from pandera.backends.pandas.container import DataFrameSchemaBackend

from resilient_tasks.validation.split import split

FRAME = pd.DataFrame({"x": [1, 2, -3, 40]})
LOW = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.le(9, error="at_most_9"))})


class Lenient(pa.DataFrameSchema):
    """Makes its numbers positive before validation."""

    def validate(self, check_obj, *args, **options):
        return LOW.validate(check_obj.assign(x=check_obj["x"].abs()), *args, **options)


class Eager(pa.DataFrameSchema):
    """Raises the first error alone, and ignores `lazy`."""

    def validate(self, check_obj, *args, lazy=False, **options):
        return LOW.validate(check_obj, *args, **options)


class Plain(pa.DataFrameSchema):
    """Overrides no method of validation."""

    owner = "fleet"

    def contact(self):
        return f"{self.owner}@example.com"


Plain.register_backend(pd.DataFrame, DataFrameSchemaBackend)


class Marked(pa.Column):
    def validate(self, check_obj, *args, **options):
        if (check_obj["x"] > 9).any():
            cases = pd.DataFrame({"index": check_obj.index[check_obj["x"] > 9], "failure_case": 40})
            code = pa.errors.SchemaErrorReason.DATAFRAME_CHECK
            raise pa.errors.SchemaError(
                self, check_obj, "too high", failure_cases=cases, check="marked", reason_code=code, column_name="x"
            )
        return check_obj


class Doubled(pa.Column):
    def coerce_dtype(self, check_obj):
        return check_obj * 2


class Tolerant(pa.Check):
    def __call__(self, check_obj, column=None):
        return super().__call__(check_obj.abs() if column is None else check_obj.assign(x=check_obj["x"].abs()), column)


Doubled.register_backend(pd.DataFrame, ColumnBackend)
Doubled.register_backend(pd.Series, ColumnBackend)
Tolerant.register_backend(pd.DataFrame, PandasCheckBackend)
Tolerant.register_backend(pd.Series, PandasCheckBackend)


class Days(pa.Index):
    def validate(self, check_obj, *args, **options):
        return check_obj


def positive(**rules):
    return {"x": pa.Column(int, pa.Check.ge(0), **rules)}


@pytest.mark.parametrize("schema", [Lenient(positive()), Eager(positive())])
def test_a_schema_that_overrides_validate_is_called(schema):
    result = split(FRAME, schema)
    assert result.report.reasons == {("x", "at_most_9"): 1}
    assert result.bad["x"].tolist() == [40]
    assert result.good["x"].tolist() == schema.validate(FRAME.iloc[:3], lazy=True)["x"].tolist()


def test_a_method_replaced_on_the_schema_is_called_too():
    schema = pa.DataFrameSchema(positive())
    schema.validate = LOW.validate
    assert split(FRAME, schema).bad["x"].tolist() == [40]


def test_a_column_that_overrides_validate_is_called():
    assert split(FRAME, pa.DataFrameSchema({"x": Marked(int, pa.Check.ge(0))})).bad["x"].tolist() == [40]


def test_a_column_that_overrides_coercion_is_called():
    schema = pa.DataFrameSchema({"x": Doubled(int, pa.Check.le(9), coerce=True)})
    assert split(FRAME, schema).good["x"].tolist() == [2, 4, -6]


def test_a_check_that_overrides_call_is_called():
    schema = pa.DataFrameSchema({"x": pa.Column(int, Tolerant(lambda s: s <= 9))})
    assert split(FRAME.assign(x=[1, 2, -30, 4]), schema).bad["x"].tolist() == [-30]


def test_an_index_that_overrides_validate_is_called():
    assert len(split(FRAME, pa.DataFrameSchema({}, index=Days(int, pa.Check.ge(2)))).bad) == 0


def test_a_user_defined_backend_is_called():
    class Silent(DataFrameSchemaBackend):
        def validate(self, check_obj, schema, **options):
            return check_obj

    class Other(pa.DataFrameSchema):
        pass

    Other.register_backend(pd.DataFrame, Silent)
    assert len(split(FRAME, Other(positive())).bad) == 0


def test_a_subclass_without_overrides_is_evaluated_by_masks(monkeypatch):
    asked = []
    validate = pa.DataFrameSchema.validate
    monkeypatch.setattr(
        pa.DataFrameSchema,
        "validate",
        lambda self, frame, **kw: asked.append(len(frame)) or validate(self, frame, **kw),
    )
    assert split(FRAME, Plain(positive())).bad["x"].tolist() == [-3]
    assert max(asked, default=0) <= 1


def test_a_model_that_overrides_validate_is_called():
    class Model(pa.DataFrameModel):
        x: int = pa.Field(ge=0)

        @classmethod
        def validate(cls, check_obj, *args, **options):
            return super().validate(check_obj.assign(x=check_obj["x"].abs()), *args, **options)

    assert split(FRAME, Model).good["x"].tolist() == [1, 2, 3, 40]


def test_rows_that_a_parser_drops_are_reported():
    schema = pa.DataFrameSchema({"x": pa.Column(int)}, parsers=pa.Parser(lambda frame: frame[frame["x"] > 0]))
    (error,) = split(FRAME, schema).report.frame_errors
    assert error.startswith("the schema returned 3 of 4 rows")
