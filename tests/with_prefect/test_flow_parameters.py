"""Prefect's UI shows a form with the parameters of the user's own function for a run of a deployment."""

import datetime as dt
import enum
from typing import Annotated, Literal

import pytest
from prefect import flow
from pydantic import BaseModel, Field, SecretStr

from resilient_tasks import resilient_flow

POLICIES = {"retry": 2, "deadline": 60, "fallback": lambda *_, **__: None}


class Model(enum.Enum):
    TREES = "trees"
    LINEAR = "linear"


class Options(BaseModel):
    """Options of a training."""

    depth: int = Field(3, ge=1, le=20, description="Of the trees.")
    columns: list[str] = []


def plain(month: str, seed: int = 1):
    """Train on a month.

    Args:
        month: The month, as in 2013-07.
        seed: For what is drawn at random.
    """


def rich(
    day: dt.date,
    *,
    model: Model = Model.TREES,
    options: Options = Options(depth=5),  # noqa: B008
    more: list[Options] | None = None,
    airport: Literal["JFK", "LGA"] = "JFK",
    share: Annotated[float, Field(ge=0, le=1, description="Held out.")] = 0.2,
    token: SecretStr | None = None,
    **others: int,
):
    """Train with everything."""


def numpy_style(month: str = "2013-07"):
    """Train on a month.

    Parameters
    ----------
    month
        The month.
    """


async def later(month: str = "2013-07", model: Model = Model.LINEAR):
    """Train later."""


def undocumented(month, seed=1, *months):
    pass


def written(month: "str", model: "Model | None" = None):
    """Train with string annotations."""


FUNCTIONS = [plain, rich, numpy_style, later, undocumented, written]


def shown(flow_):
    """Return what the UI uses to show and check the parameters of a flow."""
    return flow_.parameters.model_dump(), flow_.description, flow_.name, flow_.should_validate_parameters


@pytest.mark.parametrize("policies", [{}, POLICIES], ids=["bare", "policies"])
@pytest.mark.parametrize("fn", FUNCTIONS)
def test_the_parameters_are_described_as_those_of_a_plain_flow_are(fn, policies):
    assert shown(resilient_flow(**policies)(fn)) == shown(flow(fn))


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_with_options_keeps_them(fn):
    assert shown(resilient_flow(fn).with_options(retry=3)) == shown(flow(fn).with_options(retries=3))


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_a_deployment_takes_the_same_parameters_from_the_ui(fn):
    ours, theirs = (decorate(fn).to_deployment("hourly") for decorate in (resilient_flow(**POLICIES), flow))
    assert ours._parameter_openapi_schema == theirs._parameter_openapi_schema
    assert ours.parameters == theirs.parameters
    assert ours.description == theirs.description


@pytest.mark.parametrize("kind", [None, staticmethod, classmethod])
def test_a_method_has_no_parameter_self(kind):
    def train(self, month: str, model: Model = Model.TREES):
        """Train on a month."""

    def alone(month: str, model: Model = Model.TREES):
        """Train on a month."""

    def described(decorate):
        fn = alone if kind is staticmethod else train
        made = decorate(kind(fn) if kind else fn)
        return shown(type("Trainer", (), {"train": made})().train)

    assert described(resilient_flow(**POLICIES)) == described(flow)


@pytest.mark.parametrize("given", [{"month": 7, "seed": "x"}, {"seed": 1}, {"month": "2013-07", "sede": 1}])
def test_wrong_parameters_are_refused_with_the_same_error(given):
    def refusal(flow_):
        with pytest.raises(Exception) as caught:  # any error of Prefect's
            flow_.validate_parameters(given)
        return type(caught.value), str(caught.value)

    assert refusal(resilient_flow(**POLICIES)(plain)) == refusal(flow(plain))


def test_json_values_from_the_ui_are_converted_to_the_annotated_types():
    given = {"day": "2013-07-01", "model": "linear", "options": {"depth": 7}, "airport": "LGA", "others": {}}
    ours, theirs = (decorate(rich).validate_parameters(given) for decorate in (resilient_flow(**POLICIES), flow))
    assert ours == theirs
    assert ours["model"] is Model.LINEAR
    assert ours["options"] == Options(depth=7)
