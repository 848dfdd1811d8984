"""Derived ids: the same for the same, different for everything else."""

from hypothesis import given
from hypothesis import strategies as st

from kanal.ids import derive_id, keyed_id

texts = st.lists(st.text(max_size=6), max_size=4).map(tuple)


def test_ids_never_change() -> None:
    """Golden vectors: ids of records that exist must be found again by every later release."""
    assert derive_id("normalizer", "abc", "settled") == "60dedcd5576c92ecd64dc6f88409d7fd"
    assert keyed_id(b"k" * 32, "sender", "phone", "+6281200000001") == "f261fc1ca796aa111e1df40c5449e6f4"


@given(texts, texts)
def test_different_parts_have_different_ids(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Also where they are the same when written one behind the other."""
    assert (derive_id(*one) == derive_id(*other)) == (one == other)
    assert (keyed_id(b"k", *one) == keyed_id(b"k", *other)) == (one == other)


def test_parts_are_kept_apart_by_their_lengths() -> None:
    """ "ab","c" is not "a","bc"; a part that looks like a frame is not one."""
    assert len({derive_id("ab", "c"), derive_id("a", "bc"), derive_id("abc"), derive_id("ab", "", "c"), derive_id("2:ab1:c")}) == 5


def test_a_keyed_id_needs_the_key() -> None:
    """What could be guessed cannot be computed without it."""
    assert keyed_id(b"one", "x") != keyed_id(b"two", "x") != derive_id("x")


@given(st.text(st.characters(codec=None), max_size=5))
def test_any_text_has_an_id(text: str) -> None:
    """Also one with lone surrogates, as broken mail gives: 32 hexadecimal characters."""
    assert len(bytes.fromhex(derive_id(text))) == 16
