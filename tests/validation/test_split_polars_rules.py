"""Rules of polars schemas beyond plain checks: warn-only rules, user-defined classes, all types."""

import datetime as dt
from decimal import Decimal

import pandera.polars as pa
import polars as pl
import pytest
from pandera.backends.polars.components import ColumnBackend
from pandera.backends.polars.container import DataFrameSchemaBackend
from pandera.errors import SchemaWarning
from polars.testing import assert_frame_equal

from resilient_tasks.validation.report import Reason
from resilient_tasks.validation.split import split


def warning(check, **options):
    return pa.Check(check, raise_warning=True, **options)


ONE_ANSWER = pa.Check(lambda data: data.lazyframe.select(pl.col("a").sum() > 99), raise_warning=True, name="large sum")
OTHERS = pa.Check(
    lambda data: data.lazyframe.select(pl.col("a") > pl.col("a").mean()), raise_warning=True, name="above the mean"
)
TWO = pa.Check(lambda data: data.lazyframe.select(pl.col("a") < pl.col("b")), raise_warning=True, name="a before b")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("others", [{}, {"b": pa.Column(pl.Int64, unique=True)}], ids=["masks alone", "others"])
@pytest.mark.parametrize(
    ("column", "frame", "warned", "positions"),
    [
        ([pa.Check.gt(1, raise_warning=True)], None, {("a", "greater_than(1)"): 1}, [0]),
        ([pa.Check.gt(1, raise_warning=True), pa.Check.lt(3)], None, {("a", "greater_than(1)"): 1}, [0]),
        ([pa.Check.ge(1), pa.Check.ne(9, raise_warning=True)], None, {}, []),
        ([OTHERS], None, {("a", "above the mean"): 2}, [0, 1]),
        ([], ONE_ANSWER, {("*", "large sum"): 0}, []),
        ([], TWO, {("*", "a before b"): 2}, [1, 2]),
        ([warning(lambda value: value != 2, element_wise=True, name="not two")], None, {("a", "not two"): 1}, [1]),
    ],
)
def test_a_warn_only_rule_is_counted_and_keeps_its_rows(column, frame, warned, positions, others):
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, column), **others}, frame)
    result = split(pl.DataFrame({"a": [1, 2, 3], "b": [2, 1, 0]}), schema)
    assert result.report.warned == warned
    assert [row for finding in result.report.warnings for row in finding.positions.tolist()] == positions
    assert result.report.invalid == sum(check.name == "less_than" for check in column)
    assert result.good.height + result.bad.height == 3


def test_a_warning_holds_the_values_and_pandera_emits_it_too():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, [pa.Check.gt(1, raise_warning=True), pa.Check.lt(5)])})
    with pytest.warns(SchemaWarning):
        report = split(pl.DataFrame({"a": [1, 2, 9, 0]}), schema).report
    (finding,) = report.warnings
    assert finding.values == [1, 0]
    assert report.reasons == {("a", "less_than(5)"): 1}
    assert report.summary() == "1 of 4 rows invalid: a less_than(5) ×1; warned: a greater_than(1) ×2"


def works(schema):
    """Register a backend, as pandera 0.35 requires of a subclass."""
    if issubclass(schema, pa.Column):
        schema.register_backend(pl.LazyFrame, ColumnBackend)
    else:
        schema.register_backend(pl.DataFrame, DataFrameSchemaBackend)
    return schema


@works
class Lenient(pa.DataFrameSchema):
    def validate(self, check_obj, *args, **kwargs):
        return super().validate(check_obj.with_columns(pl.col("a").abs()), *args, **kwargs)


@works
class Dropping(pa.DataFrameSchema):
    def validate(self, check_obj, *args, **kwargs):
        return super().validate(check_obj.filter(pl.col("a") > 0), *args, **kwargs)


@works
class Refusing(pa.DataFrameSchema):
    def validate(self, check_obj, *args, **kwargs):
        if (check_obj["a"] == 7).any():
            raise pa.errors.SchemaError(self, check_obj, "seven is taken")
        return super().validate(check_obj, *args, **kwargs)


@works
class EvenOnly(pa.Column):
    def validate(self, check_obj, *args, **kwargs):
        kept, self.checks = self.checks, [pa.Check(lambda d: d.lazyframe.select(pl.col(d.key) % 2 == 0), name="even")]
        try:
            return super().validate(check_obj, *args, **kwargs)
        finally:
            self.checks = kept


RULES = {"a": pa.Column(pl.Int64, pa.Check.gt(0))}


def test_a_user_defined_schema_decides_what_is_good():
    result = split(pl.DataFrame({"a": [1, -2, 0]}), Lenient(RULES))
    assert result.good["a"].to_list() == [1, 2]
    assert result.bad["a"].to_list() == [0]


def test_a_user_defined_schema_that_loses_rows_is_a_frame_error():
    result = split(pl.DataFrame({"a": [1, -2, 3]}), Dropping(RULES))
    assert result.report.frame_errors == ("validate returned 2 of 3 rows",)
    assert result.good.height == 3


def test_an_exception_of_a_user_defined_schema_is_a_frame_error():
    assert "seven is taken" in split(pl.DataFrame({"a": [1, 7]}), Refusing(RULES)).report.frame_errors[0]
    assert split(pl.DataFrame({"a": [1, -7]}), Refusing(RULES)).bad["a"].to_list() == [-7]


def test_a_user_defined_column_decides_what_is_good():
    result = split(pl.DataFrame({"a": [-2, 3, 4]}), pa.DataFrameSchema({"a": EvenOnly(pl.Int64, pa.Check.gt(0))}))
    assert result.good["a"].to_list() == [-2, 4]
    assert result.report.reasons == {("a", "even"): 1}


class Halves(pa.DataFrameModel):
    a: int = pa.Field(gt=0)

    @classmethod
    def validate(cls, check_obj, *args, **kwargs):
        return super().validate(check_obj.with_columns(pl.col("a") // 2), *args, **kwargs)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_model_that_overrides_validate_decides_what_is_good(lazy):
    frame = pl.DataFrame({"a": [1, 2, 5]})
    result = split(frame.lazy() if lazy else frame, Halves)
    assert result.good["a"].to_list() == [1, 2]
    assert result.bad["a"].to_list() == [1]
    assert (result.collected == "the schema is of a user-defined class") is lazy


def test_a_method_replaced_on_the_object_is_called():
    schema = pa.DataFrameSchema(RULES)
    schema.validate = lambda frame, **_: frame
    assert split(pl.DataFrame({"a": [1, -2]}), schema).good["a"].to_list() == [1, -2]


def test_a_schema_that_changes_between_two_splits_is_evaluated_again():
    allowed = ["x"]
    schema = pa.DataFrameSchema({"a": pa.Column(pl.String, pa.Check.isin(allowed))})
    frame = pl.DataFrame({"a": ["x", "y", None]})
    assert split(frame, schema).good["a"].to_list() == ["x"]
    schema.columns["a"].nullable = True
    assert split(frame, schema).good["a"].to_list() == ["x", None]
    schema.columns["a"].checks = []
    assert split(frame, schema).good["a"].to_list() == ["x", "y", None]
    schema.columns["b"] = pa.Column(pl.Int64)
    assert split(frame, schema).report.frame_errors == ("column 'b' is missing",)


NANOSECONDS = pl.Series([1, 2], dtype=pl.Int64).cast(pl.Datetime("ns"))
KINDS = {
    "ns": NANOSECONDS,
    "ns zone": NANOSECONDS.dt.replace_time_zone("Europe/Berlin"),
    "duration ns": NANOSECONDS.cast(pl.Int64).cast(pl.Duration("ns")),
    "time": pl.Series([dt.time(1, 2, 3, 4), dt.time(5)]),
    "decimal": pl.Series([Decimal("1.10"), Decimal("-99999999999999.99")], dtype=pl.Decimal(38, 2)),
    "enum": pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"])),
    "categorical": pl.Series(["b", "a"], dtype=pl.Categorical()),
    "list": pl.Series([[1, None], []]),
    "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)),
    "struct": pl.Series([{"x": 1, "y": "a"}, {"x": None, "y": None}]),
    "binary": pl.Series([b"\x00", b"\xff"]),
    "object": pl.Series([object(), object()], dtype=pl.Object),
    "null": pl.Series([None, None], dtype=pl.Null),
    "int128": pl.Series([2**100, 1], dtype=pl.Int128),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("bad", [[0], [1], [0, 1], []])
def test_values_of_every_type_come_out_as_they_went_in(name, bad):
    frame = pl.DataFrame({"x": KINDS[name], "ok": [-1 if row in bad else 1 for row in range(2)]})
    schema = pa.DataFrameSchema({"ok": pa.Column(pl.Int64, pa.Check.gt(0))})
    result = split(frame, schema)
    assert result.good.schema == result.bad.schema == frame.schema
    if name == "object":
        assert [*result.good["x"], *result.bad["x"]] == [frame["x"][row] for row in sorted({0, 1} - {*bad}) + bad]
        return
    assert_frame_equal(result.good, frame.filter(pl.col("ok") > 0))
    assert_frame_equal(result.bad, frame.filter(pl.col("ok") < 0))


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"object", "null", "int128"}))
def test_a_null_among_values_of_every_type_is_a_reason(name):
    frame = pl.DataFrame({"x": pl.concat([KINDS[name], pl.Series([None], dtype=KINDS[name].dtype)])})
    result = split(frame, pa.DataFrameSchema({"x": pa.Column(KINDS[name].dtype)}))
    assert result.report.frame_errors == ()
    assert result.report.rows_failed == ((2, (Reason("x", "is null", None),)),)
    assert result.good.height == 2
