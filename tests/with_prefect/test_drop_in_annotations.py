"""String annotations that name types of the user's module are resolved as in Prefect."""

from __future__ import annotations  # every annotation of this module is a text

from dataclasses import dataclass
from typing import Literal

import pytest
from prefect import flow
from prefect.exceptions import ParameterTypeError

from resilient_tasks import resilient_flow

Month = Literal["2013-01", "2013-02"]


@dataclass
class Options:
    seed: int


def plain(month: Month, options: Options | None = None):
    return month, options


async def coroutine(month: Month, options: Options | None = None):
    return month, options


def generator(month: Month, options: Options | None = None):
    yield month, options


async def async_generator(month: Month, options: Options | None = None):
    yield month, options


def forward(month: Defined, options: Options | None = None):
    return month, options


DECORATORS = {"prefect": flow, "resilient": resilient_flow, "with a policy": resilient_flow(deadline=60)}


@pytest.mark.parametrize("decorator", DECORATORS.values(), ids=DECORATORS)
@pytest.mark.parametrize("fn", [plain, coroutine, generator, async_generator, forward])
def test_a_named_type_is_looked_up_in_the_module_of_the_users_function(fn, decorator):
    decorated = decorator(fn)

    assert decorated.validate_parameters({"month": "2013-01", "options": {"seed": "3"}}) == {
        "month": "2013-01",
        "options": Options(3),
    }
    with pytest.raises(ParameterTypeError, match="2013-01"):
        decorated.validate_parameters({"month": "1913-01"})


@pytest.mark.parametrize("decorator", DECORATORS.values(), ids=DECORATORS)
def test_a_method_knows_the_types_of_its_module_too(decorator):
    class Team:
        @decorator
        def retrain(self, month: Month):
            return month

    team = Team()

    assert team.retrain.validate_parameters({"self": team, "month": "2013-02"})["month"] == "2013-02"
    with pytest.raises(ParameterTypeError):
        team.retrain.validate_parameters({"self": team, "month": "1913-01"})


def test_a_copy_with_other_options_knows_them_too():
    again = resilient_flow(plain).with_options(retry=3, name="again")

    with pytest.raises(ParameterTypeError):
        again.validate_parameters({"month": "1913-01"})


Defined = Literal["2013-01"]
