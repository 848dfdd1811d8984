"""The tree of errors: what a caller may rely on."""

import pytest

from kanal import errors
from kanal.errors import InvalidInput, KanalError, TemporaryFailure

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, KanalError)]


@pytest.mark.parametrize("kind", [each for each in ALL if each is not InvalidInput], ids=lambda kind: kind.__name__)
def test_an_error_without_words_says_what_it_is(kind: type[KanalError]) -> None:
    """The docstring is the message, the class name the reason."""
    error = kind()
    assert str(error)
    assert str(error) in (kind.__doc__ or "")
    assert error.reason == kind.__name__
    assert kind("words", reason="a-code").reason == "a-code"


def test_invalid_input_names_field_and_rule() -> None:
    """A form shows them beside the field."""
    error = InvalidInput("text", "is empty")
    assert (error.field, error.rule, error.reason, str(error)) == ("text", "is empty", "invalid-text", "text: is empty")


def test_only_what_may_be_tried_again_is_temporary() -> None:
    """The loop retries exactly these; a stop or a dead letter is never retried."""
    assert {each.__name__ for each in ALL if issubclass(each, TemporaryFailure)} == {
        "TemporaryFailure", "JournalAway", "SpoolFull", "DatabaseAway"
    }  # fmt: skip


def test_every_error_is_in_the_tree_at_the_top() -> None:
    """Who adds one draws it."""
    assert [each.__name__ for each in ALL if each.__name__ not in (errors.__doc__ or "")] == []
