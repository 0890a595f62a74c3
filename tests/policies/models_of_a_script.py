"""A script with models of its own, as its tests run it: `send FOLDER` writes pickles, `here` crosses by itself."""

import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import cloudpickle
import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
from pandera import extensions
from pydantic import AfterValidator, BaseModel, field_validator, model_validator

from resilient_tasks import Pipeline, Timeout, Validate, resilient
from resilient_tasks.validation.schemas import fingerprint


@extensions.register_check_method(statistics=["most"])
def no_more_than(series, *, most):
    return series <= most


class OfPandas(pa.DataFrameModel):
    n: int

    @pa.check("n")
    def above_the_least(cls, series):
        return series > cls.least()

    @classmethod
    def least(cls):
        return 0


class Inherited(OfPandas):
    """In another place, also its parent's."""

    m: int = pa.Field(no_more_than=100)

    class Config:
        coerce = True

    @pa.parser("m")
    def positive(cls, series):
        return series.abs()

    @pa.dataframe_check
    def n_before_m(cls, frame):
        return frame["n"] < frame["m"]

    @classmethod
    def least(cls):
        return 1


class Own(OfPandas):
    """Validates in a way of its own."""

    @classmethod
    def validate(cls, check_obj, *args, **options):
        if (check_obj["n"] > 50).any():
            raise pa.errors.SchemaError(cls.to_schema(), check_obj, "more than 50")
        return super().validate(check_obj, *args, **options)


class OfPolars(pap.DataFrameModel):
    n: int

    @pap.check("n")
    def above_the_least(cls, data):
        return data.lazyframe.select(pl.col(data.key) > 0)

    @pap.dataframe_check
    def n_is_odd(cls, data):
        return data.lazyframe.select(pl.col("n") % 2 == 1)


def not_seven(number):
    if number == 7:
        raise ValueError("seven")
    return number


class Part(BaseModel):
    n: Annotated[int, AfterValidator(not_seven)]


class OfPydantic(BaseModel):
    parts: list[Part]

    @field_validator("parts")
    @classmethod
    def there_are_some(cls, parts):
        if not parts:
            raise ValueError("none")
        return parts

    @model_validator(mode="after")
    def there_are_few(self):
        if len(self.parts) > 1:
            raise ValueError("many")
        return self


def lists(**columns):
    return columns


#: For each model: how to make its data, columns or records in which only the first row is good, and what is said.
CASES = {
    "pandas": (OfPandas, pd.DataFrame, lists(n=[1, 0]), "n above_the_least"),
    "inherited": (Inherited, pd.DataFrame, lists(n=[2, 1, 8, 9], m=[-3, 3, 5, 101]), "above_the_least"),
    "own": (Own, pd.DataFrame, lists(n=[51]), "more than 50"),
    "polars": (OfPolars, pl.DataFrame, lists(n=[1, 0, 2]), "n_is_odd"),
    "pydantic": (
        OfPydantic,
        list,
        [{"parts": [{"n": 1}]}, {"parts": [{"n": 7}]}, {"parts": []}, {"parts": [{"n": 1}, {"n": 2}]}],
        "seven",
    ),
}
SEVERAL = {"a": OfPandas, "b": None, "c": OfPolars}


def judged(policy, make, data):
    """What `policy` makes of such data, in any process."""
    outcome = Pipeline(policy).outcome(lambda: make(data))
    error = getattr(outcome, "error", None)
    return (str(error), error.report.invalid) if error is not None else ("accepted", 0)


def of_several(policy):
    outcome = Pipeline(policy).outcome(lambda: {"a": pd.DataFrame({"n": [0]}), "b": 5, "c": pl.DataFrame({"n": [2]})})
    return str(getattr(outcome, "error", "accepted"))


def send(folder):
    for name, (model, make, data, _) in CASES.items():
        policy = Validate(output=model)
        things = {
            "policy": policy,
            "argument": Validate(input={"frame": model}),
            "pipeline": Pipeline(policy),
            "function": resilient(validate=policy)(lambda made=make, of=data: made(of)),
        }
        for what, thing in things.items():
            (folder / f"{name}.{what}.cloudpickle").write_bytes(cloudpickle.dumps(thing))
        if name != "pydantic":  # plain pickle sends that by its name, and fails where there is no such script
            (folder / f"{name}.plain.pickle").write_bytes(pickle.dumps(policy))
        (folder / f"{name}.fingerprint").write_text(fingerprint(model))
        (folder / f"{name}.data").write_bytes(pickle.dumps((make, data)))
    (folder / "several").write_bytes(cloudpickle.dumps(Validate(output=SEVERAL)))


def here():
    found = {}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name, (model, make, data, _) in CASES.items():
            found[f"spawn {name}"] = pool.submit(judged, Validate(output=model), make, data).result()[0]
        found["spawn several"] = pool.submit(of_several, Validate(output=SEVERAL)).result()

    @resilient(timeout=Timeout(60, enforce="process"))
    def fetch(by, given):
        return OfPandas.validate(given) if by is None else by.validate(given)

    for model, frame in ((None, pd.DataFrame({"n": [0]})), (OfPolars, pl.DataFrame({"n": [0]}))):
        found[f"process {model and model.__name__}"] = str(getattr(fetch.outcome(model, frame), "error", "accepted"))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(Path(sys.argv[2]))
    else:
        sys.stdout.write(json.dumps(here()))
