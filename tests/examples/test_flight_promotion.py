"""The verdict on a challenger: a bootstrap interval over days, checked where the truth is known."""

import numpy as np
import pytest
import training
from hypothesis import given
from hypothesis import strategies as st
from promotion import FEWEST_DAYS, LEVEL, MARGIN, Comparison, compare
from registry import Stored

ALPHA = (1 - LEVEL) / 2


def two_models(chance, days, better=1.0):
    """Return sums of squared errors by day of two models: a day's wind is one error for all of its flights."""
    flights = chance.integers(700, 1100, days)
    wind = chance.normal(0, 6, days)
    champion = flights * (64 + (wind + chance.normal(0, 4, days)) ** 2)
    challenger = flights * (64 + (wind + chance.normal(0, 4, days)) ** 2)
    return champion, challenger * better**2


def comparisons(days, times=500, better=1.0):
    chance = np.random.default_rng(days)
    return [compare(*two_models(chance, days, better), seed=at, resamples=1000) for at in range(times)]


@pytest.mark.parametrize("days", [5, 7, 14, 28])
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(days):
    held = np.mean([each.low <= 1 <= each.high for each in comparisons(days)])

    assert LEVEL - 0.07 <= held <= LEVEL + 0.05


@pytest.mark.parametrize("days", [4, FEWEST_DAYS, 7, 14, 28])
def test_an_equally_good_model_is_promoted_no_more_often_than_the_level_allows(days):
    promoted = np.mean([each.better() for each in comparisons(days)])

    assert promoted <= ALPHA + 0.01


@pytest.mark.parametrize("days", [7, 14, 28])
def test_a_model_that_is_better_by_less_than_the_margin_is_seldom_promoted(days):
    assert np.mean([each.better() for each in comparisons(days, better=1 - MARGIN)]) <= ALPHA + 0.03


def test_a_much_better_model_is_promoted_in_most_weeks_and_more_days_promote_more():
    week, month = (np.mean([each.better() for each in comparisons(days, better=0.8)]) for days in (7, 28))

    assert 0.4 < week < 0.9 < month


def test_the_same_days_and_seed_give_the_same_interval_and_another_seed_almost_the_same():
    sums = two_models(np.random.default_rng(1), 7)

    first, again, other = (compare(*sums, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert other.high == pytest.approx(first.high, abs=0.01)


def test_flights_of_one_day_are_one_observation():
    champion, challenger = two_models(np.random.default_rng(1), 7)

    more, fewer = compare(champion * 1000, challenger * 1000), compare(champion, challenger)

    assert (more.low, more.ratio, more.high) == pytest.approx((fewer.low, fewer.ratio, fewer.high))


@given(st.lists(st.floats(1, 1e6), min_size=FEWEST_DAYS, max_size=9), st.floats(0.3, 3), st.integers(0, 99))
def test_a_model_whose_errors_are_the_same_share_each_day_is_known_exactly(errors, share, seed):
    found = compare(errors, np.multiply(errors, share**2), seed=seed, resamples=200)

    assert (found.low, found.ratio, found.high) == pytest.approx((share, share, share), rel=1e-6)


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=FEWEST_DAYS, max_size=9), st.integers(0, 99))
def test_the_bounds_are_in_order_and_exchanging_the_models_inverts_the_ratio(pairs, seed):
    champion, challenger = zip(*pairs, strict=True)

    found, exchanged = (
        compare(*both, seed=seed, resamples=200) for both in ((champion, challenger), (challenger, champion))
    )

    assert 0 <= found.low <= found.high
    assert exchanged.ratio == pytest.approx(1 / found.ratio)


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        ([], []),
        ([9.0], [1.0]),
        ([9.0] * (FEWEST_DAYS - 1), [1.0, 1.1, 1.2, 1.3]),
        ([9.0] * 7, [1.0] * 6 + [float("nan")]),
        ([9.0] * 7, [0.0] * 7),
        ([0.0] * 7, [1.0] * 7),
        ([9.0] * 6 + [float("inf")], [1.0] * 7),
    ],
)
def test_where_nothing_is_known_nothing_is_promoted(champion, challenger):
    found = compare(champion, challenger)

    assert (found.low, found.high) == (0, float("inf"))
    assert not found.better()


def test_errors_of_other_days_are_refused():
    with pytest.raises(ValueError, match="sums of 3 and 2 days"):
        compare([1, 2, 3], [1, 2])


@pytest.fixture
def champion():
    return Stored(None, 3, "2013-03", "2013-03-24")


@pytest.mark.parametrize(("high", "verdict"), [(0.979, "promoted"), (0.981, "kept"), (float("nan"), "kept")])
def test_only_an_interval_beyond_the_margin_promotes(champion, high, verdict):
    assert training.verdict_on(Comparison(0.9, 0.8, high, 7), (), champion)[0] == verdict


def test_a_challenger_of_degraded_data_is_refused_however_good_it_is(champion):
    best = Comparison(0.5, 0.4, 0.6, 7)

    assert training.verdict_on(best, ("planes are a stand-in",), champion) == (
        "refused",
        "trained on degraded data: planes are a stand-in",
    )
    assert training.verdict_on(None, ("planes are a stand-in",))[0] == "refused", "nor as the first champion"


def test_without_a_day_that_neither_model_has_seen_there_is_no_promotion(champion):
    verdict, why = training.verdict_on(None, (), champion)

    assert verdict == "refused"
    assert why == "no day that neither model has seen: the champion was trained until 2013-03-24"


def test_the_first_challenger_becomes_champion():
    assert training.verdict_on(None, ()) == ("promoted", "the first champion")
