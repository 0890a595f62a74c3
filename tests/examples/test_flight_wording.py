"""Reasons as people read them: the names come from pandera itself, so a change of them is noticed here."""

import pandera.pandas as pa
import pytest
from wording import in_words


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (pa.Check.equal_to(2013), "not 2013"),
        (pa.Check.not_equal_to(0), "is 0"),
        (pa.Check.greater_than(0), "not above 0"),
        (pa.Check.greater_than_or_equal_to(1), "below 1"),
        (pa.Check.less_than(9), "not below 9"),
        (pa.Check.less_than_or_equal_to(8), "above 8"),
        (pa.Check.in_range(5, 1000), "not in 5 to 1000"),
        (pa.Check.isin(["EWR", "JFK"]), "not one of EWR, JFK"),
        (pa.Check.notin(["N/A"]), "one of N/A"),
        (pa.Check.str_matches("^[A-Z0-9]{2}$"), "not like ^[A-Z0-9]{2}$"),
        (pa.Check.str_matches("^a: (b|c)$"), "not like ^a: (b|c)$"),
        (pa.Check.str_contains("x"), "nowhere like x"),
        (pa.Check.str_startswith("N"), "does not start with N"),
        (pa.Check.str_endswith("N"), "does not end with N"),
        (pa.Check.str_length(1, 3), "length not in 1 to 3"),
    ],
)
def test_a_check_of_pandera_is_described_by_what_is_wrong(check, said):
    assert in_words(f"carrier: {check.error}") == f"carrier: {said}"


@pytest.mark.parametrize(
    "reason",
    [
        "dest: is null",
        "air_time: not a number",
        "distance: shorter than it flies (by far)",
        "time: in_range(2013-01-01 00:00:00, 2013-12-31 00:00:00)",
        "name: str_length(2, None)",
    ],
)
def test_any_other_reason_stays_as_it_is(reason):
    assert in_words(reason) == reason


def test_a_rule_about_whole_rows_needs_no_column():
    assert in_words("in_range(0, 1)") == "not in 0 to 1"
