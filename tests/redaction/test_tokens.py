"""Tokens of known issuers are recognised by the generated table."""

import random
import re
import string
import subprocess
import sys

import pytest

from resilient_tasks.redaction import tokens
from resilient_tasks.redaction.text import redact
from resilient_tasks.redaction.token_shapes import ALPHABETS, SHAPES

LETTERS = {
    name: [letter for letter in map(chr, range(33, 127)) if re.fullmatch(f"[{some}]", letter)]
    for name, some in ALPHABETS.items()
}
PUBLISHED = [(issuer, shape) for issuer, shapes in SHAPES for shape in shapes.split(" | ")]


def made(shape, make):
    parts = []
    for piece in shape.split(" "):
        letters, _, count = piece.partition(":")
        numbers = re.fullmatch(r"(\d+)(?:-\d*)?", count)
        parts.append(
            "".join(make.choices(LETTERS[letters], k=int(numbers[1]))) if letters in LETTERS and numbers else piece
        )
    return "".join(parts)


def test_there_are_many_issuers():
    assert len(SHAPES) > 200
    assert len(PUBLISHED) > 500


def test_nearly_every_token_of_the_table_is_redacted_in_a_neutral_text():
    make = random.Random(20261127)
    texts = [(shape, made(shape, make)) for _, shape in PUBLISHED for _ in range(3)]
    left = [(shape, token) for shape, token in texts if token in redact(f"the call with {token} was refused")]
    assert len(left) <= len(texts) / 50, left  # a few were drawn without a digit


@pytest.mark.parametrize(
    "around", ["x={};", '{{"a": "{}"}}', "a%3D{}%26b", "line\\n{}\\n", "({})", "'{}'", "{}, and more"]
)
def test_a_token_is_redacted_in_any_surrounding_text(around):
    token = "ghp_" + "A1b2C3d4E5" * 4
    assert tokens.redact(around.format(token)) == around.format("***")


@pytest.mark.parametrize(
    "text",
    [
        "sk_flights_model_v2_2013_07_01 and live_flights_2013_07_partition_01",
        "re_exports_of_the_module_flights_2013",
        "scikit-learn-1.5.2-py3-none-any.whl sk-learn-1.5.2-py3-none-any.whl",
        f"key_{'a' * 30} test_{'b' * 40}",
        "0" * 64,
    ],
)
def test_names_that_begin_like_tokens_stay(text):
    assert tokens.redact(text) is text


def test_shapes_are_compiled_on_first_use_and_not_at_import():
    program = "from resilient_tasks.redaction import text, tokens; print(tokens._compiled.cache_info().currsize)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "0"


def test_alphabets_match_their_names():
    assert set(LETTERS["alnum"]) == set(string.ascii_letters + string.digits)
    assert set(LETTERS["url"]) == {*string.ascii_letters, *string.digits, "-", "_"}
