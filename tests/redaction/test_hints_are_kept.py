"""Redaction keeps the library's own sentences: a hint such as `give webhook=, or token=` is no secret."""

import ast
from pathlib import Path

import pytest

import resilient_tasks
from resilient_tasks.redaction.text import redact

PACKAGE = Path(resilient_tasks.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: These hold shapes of secrets.
SHAPES = {"redaction/secret_names.py", "redaction/token_shapes.py", "core/parameters/words.py"}
#: For what a sentence quotes: a name, a number, a repr.
FILLS = ("fetch", "3", "Retry(attempts=3)", "'wrong'", "")


def _sentences(tree):
    """Yield the texts of a module that people may read: all but docstrings, with their gaps filled."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for fill in FILLS:
                yield (
                    node.lineno,
                    "".join(str(part.value) if isinstance(part, ast.Constant) else fill for part in node.values),
                )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inside | docs):
            yield node.lineno, node.value


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_sentence_of_the_library_is_redacted(file):
    if str(file.relative_to(PACKAGE)) in SHAPES:
        return
    sentences = [(line, text) for line, text in _sentences(ast.parse(file.read_text(encoding="utf-8"))) if " " in text]
    harmed = [f"line {line}: {redact(text)}" for line, text in sentences if redact(text) != text]
    assert not harmed


@pytest.mark.parametrize(
    "hint",
    [
        "give webhook=, or token= with channel=",
        "Slack(...) takes token= and channel=, or webhook=",
        "pass password= or credentials=",
        "give api_key= to the client, or set it in the environment",
        "Email(password=...) is text",
        "say token=..., or leave it out",
    ],
)
def test_a_keyword_that_is_named_without_a_value_is_no_secret(hint):
    assert redact(hint) == hint


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("token= xoxb-4711-abcdefghijkl and so on", "token= *** and so on"),
        ("password= hunter2 is wrong", "password= *** is wrong"),
        ("api_key= 9f8e7d6c5b4a39281706", "api_key= ***"),
        ("password=with", "password=***"),
        ("password = or", "password = ***"),
        ("password=or&user=me", "password=***&user=me"),
        ("secret= and-this-is-my-secret", "secret= ***"),
    ],
)
def test_a_value_that_follows_is_still_redacted(text, redacted):
    assert redact(text) == redacted
