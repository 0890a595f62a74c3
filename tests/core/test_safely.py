"""A user's object is read without failing because of it."""

import dataclasses

import pytest

from resilient_tasks import safely


class SaysNothing(Exception):
    def __str__(self):
        return self.request.url


class SaysANumber(Exception):
    def __str__(self):
        return 503  # noqa: PLE0307  # the very mistake


class Endless(Exception):
    def __getattr__(self, name):
        return getattr(self, f"{name}_")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class NotesOfItsOwn(Exception):
    __notes__ = "text, and no list"


@pytest.mark.parametrize(("kind", "why"), [(SaysNothing, "AttributeError"), (SaysANumber, "TypeError")])
def test_an_error_without_a_text_is_shown_as_its_type_and_arguments_with_a_remark(kind, why):
    assert safely.text(kind("no seat", 7)) == f"{kind.__name__}('no seat', 7) (its __str__ raised {why})"


def test_the_remark_does_not_need_arguments_that_can_be_shown():
    class NoRepr:
        def __repr__(self):
            raise RuntimeError

    assert safely.text(SaysNothing(NoRepr())) == "SaysNothing (its __str__ raised AttributeError)"
    assert safely.shown(NoRepr()) == "<NoRepr whose __repr__ raised RuntimeError>"


def test_a_huge_text_is_cut_at_a_space_with_a_remark_on_its_length():
    result = safely.text(ValueError("word " * 200_000))
    assert len(result) < safely.LONGEST + 100
    assert result.startswith("word word")
    assert result.endswith(" characters)")
    assert "word… (and 980,00" in result


def test_a_huge_text_without_a_space_is_cut_all_the_same():
    assert safely.text(ValueError("x" * 1_000_000)) == "x" * safely.LONGEST + "… (and 980,000 more characters)"


def test_a_text_that_cannot_be_encoded_is_escaped():
    assert safely.text(FileNotFoundError("/tmp/\udcff")) == "/tmp/\\udcff"


def test_an_attribute_that_cannot_be_read_is_missing():
    assert safely.attribute(Endless(), "response") is None
    assert safely.attribute(Endless(), "status", 7) == 7


@pytest.mark.parametrize("there", [None, {}, {"ResponseMetadata": None}, {"ResponseMetadata": [1]}, 3])
def test_an_item_is_missing_if_any_mapping_on_the_way_is(there):
    assert safely.item(there, "ResponseMetadata", "HTTPStatusCode") is None


@pytest.mark.parametrize(
    ("kind", "arguments", "notes"),
    [(Frozen, (3,), ("seen",)), (Endless, (), ("seen",)), (NotesOfItsOwn, (), ()), (ValueError, (), ("seen",))],
)
def test_a_note_is_added_where_there_can_be_one_and_never_raises(kind, arguments, notes):
    error = kind(*arguments)
    safely.note(error, "seen")
    assert safely.notes(error) == notes


def test_notes_in_a_tuple_are_kept():
    error = ValueError()
    error.__notes__ = ("first",)
    safely.note(error, "second")
    assert error.__notes__ == ["first", "second"]


def test_a_frozen_error_loses_its_traceback():
    try:
        raise Frozen(3)
    except Frozen as caught:
        error = caught
    safely.without_frames(error)
    assert error.__traceback__ is None
