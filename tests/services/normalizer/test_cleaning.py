"""Cleaning: text as it arrived → text as a report keeps it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kanal_normalizer.cleaning import MAX_CHARACTERS, clean_text, words_of

PIECES = ("&amp;", "&", "amp;", "lt;", "&#38;", "&#10;", "＆", "𝗕", "ﬁ", "…", "!", "....", "--", "laporan:", "\n", "\r", "\t", " ", "\u00a0",
          "\u200b", "\u202e", "\x00", "\x07", "a", "Z", "é", "e\u0301", "9", "😀", "\u2028")  # fmt: skip


@pytest.mark.parametrize(
    ("arrived", "kept"),
    [
        pytest.param("jalan &amp; got", "jalan & got", id="entity"),
        pytest.param("jalan &amp;amp; got", "jalan & got", id="entity-of-an-entity"),
        pytest.param("&lt;b&gt; &quot;x&quot; &#233;", '<b> "x" é', id="named-and-numbered-entities"),
        pytest.param("𝗕𝗮𝗻𝗷𝗶𝗿 𝓭𝓲 ｓｉｎｉ", "Banjir di sini", id="styled-letters"),
        pytest.param("ﬁber ½", "fiber 1⁄2", id="ligature-and-fraction"),
        pytest.param("lam\u200bpu\u202e \x00ma\x07ti\ufeff", "lampu mati", id="control-and-invisible-characters"),
        pytest.param("lampu\u00a0 \t mati", "lampu mati", id="runs-of-blanks"),
        pytest.param("tolong!!!!!!!! ??????? ---------- ======", "tolong!!! ??? --- ===", id="runs-of-marks"),
        pytest.param("wkwkwk aaaaaaa 111111", "wkwkwk aaaaaaa 111111", id="runs-of-letters-and-digits-stay"),
        pytest.param("satu\n\n\n\n \n dua\ntiga", "satu\n\ndua\ntiga", id="blank-lines"),
        pytest.param("satu\r\ndua", "satu\ndua", id="windows-line-ends"),
        pytest.param("satu\rdua", "satu\ndua", id="old-mac-line-ends-part-words"),
        pytest.param("satu\x0bdua\x0ctiga", "satu\ndua\ntiga", id="vertical-tab-and-form-feed-part-words"),
        pytest.param("Permasalahan : lampu mati", "lampu mati", id="label-of-an-older-form"),
        pytest.param("ISI LAPORAN:lampu mati", "lampu mati", id="label-in-capitals"),
        pytest.param("ini laporan: lampu mati", "ini laporan: lampu mati", id="label-inside-a-sentence-stays"),
        pytest.param("  \n ", "", id="nothing"),
    ],
)
def test_text_is_made_plain(arrived: str, kept: str) -> None:
    """What a reader does not need goes, what a citizen said stays."""
    assert clean_text(arrived) == kept


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_cleaning_twice_is_cleaning_once(arrived: str) -> None:
    """A text that went through before (a redrive, a part that is joined) comes out the same."""
    once = clean_text(arrived)

    assert clean_text(once) == once


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_no_control_character_is_left(arrived: str) -> None:
    """Nothing that a screen, a log or PostgreSQL trips over remains, but line ends and tabs."""
    assert all(character.isprintable() or character.isspace() for character in clean_text(arrived))


def test_a_very_long_text_is_cut_at_its_limit() -> None:
    """A report's text is bounded; the whole stays in the received message."""
    assert len(clean_text("lampu mati " * 5_000)) <= MAX_CHARACTERS
    assert len(clean_text("x" * (MAX_CHARACTERS + 1))) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("Jl.Cideng, No.5!", ["jl", "cideng", "no", "5"], id="marks-part-words"),
        pytest.param("KEL_CIDENG", ["kel", "cideng"], id="underscore-parts-words"),
        pytest.param("ＢＡＮＪＩＲ Straße", ["banjir", "strasse"], id="wide-letters-and-case"),
        pytest.param("...", [], id="no-word"),
    ],
)
def test_words_are_told_apart(text: str, words: list[str]) -> None:
    """Words are compared without case, width and punctuation."""
    assert words_of(text) == words
