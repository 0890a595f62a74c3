"""`make secrets`: its corpus has the forms that it claims, and bad redaction makes it fail."""

import math
import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def measure():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.syspath_prepend(str(BENCHMARKS / "secrets"))
        import measure

        return measure


@pytest.fixture(scope="module")
def corpora(measure):
    modules = {"a": measure.contexts, "c": measure.spellings, "d": measure.tokens, "e": measure.look_alikes}
    return {part: list(module.cases()) for part, module in modules.items()}


def ends_with(measure, arguments, redact, capsys):
    with pytest.raises(SystemExit) as ended:
        measure.main(arguments, redact=redact)
    return ended.value.code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "cases", "forms"), [("a", 1500, 500), ("c", 700, 60), ("d", 600, 200), ("e", 350, 350)]
)
def test_a_part_has_as_many_cases_and_forms_as_it_claims(corpora, part, cases, forms):
    assert len(corpora[part]) >= cases
    assert len({case.key for case in corpora[part]}) >= forms


@pytest.mark.parametrize("part", "acd")
def test_each_text_holds_its_secret_and_full_redaction_leaves_none(corpora, part):
    assert all(case.leaks(case.text) for case in corpora[part])
    assert not any(case.leaks("***") for case in corpora[part])


def test_most_of_a_secret_is_a_leak_and_a_small_part_is_none(corpora):
    case = next(case for case in corpora["d"] if len(case.secret) == 40)
    assert case.leaks(case.text.replace(case.secret, f"***{case.secret[14:]}"))
    assert not case.leaks(case.text.replace(case.secret, f"***{case.secret[20:]}"))


@pytest.mark.parametrize("part", "acde")
def test_about_a_third_of_the_forms_is_held_out(corpora, part):
    held_out = {case.key: case.held_out for case in corpora[part]}
    assert 0.2 < sum(held_out.values()) / len(held_out) < 0.47


def test_each_run_has_the_same_cases(measure, corpora):
    assert list(measure.tokens.cases()) == corpora["d"]
    assert list(measure.look_alikes.cases()) == corpora["e"]


def test_another_seed_gives_other_secrets_in_the_same_forms(measure, corpora, monkeypatch):
    monkeypatch.setattr(measure.Maker, "seed", 2)
    others = list(measure.tokens.cases())
    assert {case.key for case in others} == {case.key for case in corpora["d"]}
    assert not {case.secret for case in others} & {case.secret for case in corpora["d"]}


def test_held_out_cases_are_also_judged_alone(measure, capsys):
    keys = {case.text for case in measure.tokens.cases() if case.held_out}
    _, output = ends_with(measure, ["--parts", "d"], lambda text: text if text in keys else "***", capsys)
    assert "of the held-out alone, d: 100.0% wrong" in output


def test_the_command_fails_if_nothing_is_redacted(measure, capsys):
    code, output = ends_with(measure, ["--parts", "acd"], str, capsys)
    assert code == 1
    assert "a, c: 100.0% wrong" in output
    assert "d: 100.0% wrong" in output


def test_the_command_fails_if_everything_is_redacted(measure, capsys):
    code, output = ends_with(measure, ["--parts", "de"], lambda _: "***", capsys)
    assert code == 1
    assert "e: 100.0% wrong" in output
    assert "d: " not in output.partition("NOT AS PROMISED")[2]


def test_the_command_passes_if_exactly_the_secrets_are_redacted(measure, corpora, capsys):
    known = {case.text: case for part in "acde" for case in corpora[part]}

    def exact(text):
        for form in sorted(known[text].forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text

    code, output = ends_with(measure, ["--parts", "acde"], exact, capsys)
    assert (code, "as promised" in output) == (0, True), output


def test_details_of_held_out_cases_are_shown_only_on_demand(measure, capsys):
    def shown(*more):
        _, output = ends_with(measure, ["--parts", "d", "--leaks", *more], str, capsys)
        return {line.split("'")[1] for line in output.splitlines() if line.startswith("d  ")}

    plain, held_out = shown(), shown("--held-out")
    assert plain
    assert held_out
    assert not plain & held_out


def test_everything_that_shows_an_error_is_searched(measure):
    def fails(name, secret):
        raise ValueError(f"{name} is {secret}, and its settings were { ({name: secret})!r}")

    _, seen = measure.errors.raised(fails, "entry", "hunter-of-2")
    assert seen.count("hunter-of-2") > 6


@pytest.mark.parametrize(
    ("seconds", "slow"),
    [((0.1, 0.2, 0.4), False), ((0.1, 0.4, 1.6), True), ((0.1, math.inf, math.inf), True)],
)
def test_time_out_of_proportion_is_reported(measure, seconds, slow):
    assert measure.hostile.is_slow(seconds) is slow


def test_a_text_that_takes_too_long_is_abandoned(measure, monkeypatch):
    monkeypatch.setattr(measure.hostile, "_PATIENCE", 0.05)
    monkeypatch.setattr(measure.hostile, "REPEATED", ("a",))
    times = measure.hostile.timed(lambda text: re.sub("(a|a)*b", "", text[:60]))
    assert times == {"a": (math.inf, math.inf, math.inf)}
