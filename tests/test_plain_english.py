"""Words that do not come back, in the package, the tests, the examples and the pages.

| not | but |
|---|---|
| nobody, somebody, anybody, whoever | the thing as subject: "undeliverable", "the caller", "the lock's owner" |
| is told, was told, are told | what happens: "is reported", "is logged", "receives the event", "is notified" |
| what becomes of | the noun: "the result of", "the outcome of" |
| so many | the number: "`limit` calls", "this number of rows", "as many slots as workers" |
| of one's own | "custom", "separate", "own" |

Write short active sentences with the field's nouns. Text quoted from other projects is not checked.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = (
    *("nobody", "somebody", "anybody", "whoever"),
    *("is told", "was told", "are told", "what becomes of", "so many", "of one's own"),
)
#: A phrase may be wrapped in a comment or a text of several lines, and is joined by `_` in the name of a test.
_GAP = r"(?:[ _]|\s*\n[\s#>|\"]*)"
_PATTERN = re.compile(
    "(?<![a-z-])(?:" + "|".join(word.replace(" ", _GAP).replace("'", "'?") for word in WORDS) + ")(?![a-z])",
    re.IGNORECASE,
)
#: Texts of other projects, and this list.
QUOTED = ("tests/benchmarks/kinds/", "tests/secrets_corpus.py", "tests/test_plain_english.py")


def _checked(file):
    text = file.read_text(encoding="utf-8")
    if file.name == "CHANGELOG.md":  # released sections stay as they were
        return "\n## ".join(text.split("\n## ")[:2])
    return text


def _findings():
    """Return the words found, each with its file and line."""
    folders = ("resilient_tasks", "tests", "docs", "examples")
    files = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*.py"),
        *(file for folder in folders for file in (ROOT / folder).rglob("*.*")),
    ]
    found = []
    for file in sorted(files):
        place = file.relative_to(ROOT).as_posix()
        if file.suffix not in {".py", ".md"} or place.startswith(QUOTED):
            continue
        text = _checked(file)
        for match in _PATTERN.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            words = " ".join(re.findall("[a-z']+", match[0].lower()))
            found.append(f"{place}:{line}: {words}")
    return found


def test_words_that_make_a_riddle_of_a_sentence_do_not_come_back():
    found = _findings()
    assert not found, "see what to write instead at the top of this file:\n" + "\n".join(found)


def test_a_wrapped_phrase_and_the_name_of_a_test_are_found():
    for text in ("# a caller is\n    # told", "def test_nobody_waits():", "Whoever", "so\n  many", "of_ones_own"):
        assert _PATTERN.search(text), text
    assert not _PATTERN.search("this told us; anybodyelse; he has soo many")
