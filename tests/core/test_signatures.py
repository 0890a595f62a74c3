"""Which functions can be called with the arguments of another one."""

import pytest

from resilient_tasks.core.parameters.signatures import why_unfit


def one(a): ...


def optional(a, b=1): ...


def by_name(*, a): ...


def both_by_name(*, a, b): ...


def both(a, b): ...


def none(): ...


def anything(*args, **kwargs): ...


@pytest.mark.parametrize(
    ("stand_in", "fn", "given", "why"),
    [
        (one, one, "some", ""),
        (by_name, one, "some", ""),
        (anything, optional, "all by name", ""),
        (none, one, "some", "too many positional arguments"),
        (both, one, "some", "missing a required argument: 'b'"),
        (one, optional, "some", ""),
        (none, optional, "some", "too many positional arguments"),
        (both, optional, "all", ""),
        (one, optional, "all", "too many positional arguments"),
        (both, optional, "all by name", ""),
        (both_by_name, optional, "all by name", "too many positional arguments"),
        (one, anything, "some", ""),
        (none, anything, "some", ""),
    ],
)
def test_a_function_fits_if_it_can_be_called_with_the_arguments_of_the_other(stand_in, fn, given, why):
    assert why_unfit(stand_in, fn, given=given) == why


def test_further_arguments_are_passed_by_name():
    assert why_unfit(both, one, ["b"]) == ""
    assert why_unfit(one, one, ["b"]) == "got an unexpected keyword argument 'b'"
