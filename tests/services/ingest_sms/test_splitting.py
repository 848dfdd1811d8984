"""SMS text: what fits into one, and clean borders where it does not."""

import re
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kanal_ingest_sms.splitting import GSM_BASIC, GSM_EXTENDED, is_gsm, length, plain, sms_texts

GSM_TEXT = st.text(st.sampled_from(sorted((GSM_BASIC | GSM_EXTENDED) - {"\f"})), max_size=700)
WORDS = st.lists(st.text("abcdefgh{}€", min_size=1, max_size=12), min_size=30, max_size=120).map(" ".join)
EMOJI = ("😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "1️⃣", "🇮🇩", "é", "e\u0323\u0302", "ü", "你")
MIXED = st.lists(st.sampled_from([*EMOJI, "lampu", " ", "mati ", "\n", "…", "–"]), min_size=1, max_size=120).map("".join)


def bodies(texts: list[str]) -> list[str]:
    """The SMS without "(1/3) "."""
    return texts if len(texts) == 1 else [re.sub(r"^\(\d+/\d+\) ", "", text) for text in texts]


def without_blanks(text: str) -> str:
    return re.sub(r"\s", "", text)


def fits_one_sms(text: str) -> bool:
    """By the definition of GSM 03.38 and UTF-16, counted without Kanal's own code."""
    if all(character in GSM_BASIC or character in GSM_EXTENDED for character in text):
        return sum(2 if character in GSM_EXTENDED else 1 for character in text) <= 160
    return len(text.encode("utf-16-be")) // 2 <= 70


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 1, id="empty"),
        pytest.param("a" * 160, 1, id="160 letters"),
        pytest.param("a" * 161, 2, id="161 letters"),
        pytest.param("€" * 80, 1, id="80 escaped characters are 160"),
        pytest.param("€" * 81, 2, id="81 escaped characters are 162"),
        pytest.param("a" * 159 + "€", 2, id="the escaped one does not fit"),
        pytest.param("你" * 70, 1, id="70 outside GSM-7"),
        pytest.param("你" * 71, 2, id="71 outside GSM-7"),
        pytest.param("😀" * 35, 1, id="35 emoji are 70 units"),
        pytest.param("😀" * 36, 2, id="36 emoji are 72 units"),
        pytest.param("a" * 159 + "…", 2, id="three dots for one"),
        pytest.param("é" * 160, 1, id="accents of the alphabet"),
        pytest.param("â" * 160, 1, id="accents that are dropped"),
        pytest.param(" " + "a" * 160 + "\n", 1, id="blanks around do not count"),
    ],
)
def test_an_sms_is_full_when_its_alphabet_says_so(text: str, count: int) -> None:
    """160 septets or 70 UTF-16 units; characters of the extension table count two."""
    assert len(sms_texts(text)) == count


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("“Lampu” – mati… ya’", '"Lampu" - mati... ya\''),
        ("Rp\u00a010.000\tlunas", "Rp 10.000 lunas"),
        ("• satu", "- satu"),
        ("â ç ñ é", "a c ñ é"),
        ("e\u0301", "é"),
        ("你好 â – …", "你好 â - ..."),
    ],
)
def test_typography_becomes_plain(typed: str, sent: str) -> None:
    """A dash or a curly quote must not cost 90 characters; accents go only where that makes it GSM-7."""
    assert plain(typed) == sent


def test_a_text_in_several_sms_is_counted_in_front() -> None:
    """SMS arrive out of order: the reader must see which comes first."""
    texts = sms_texts("lampu mati " * 40)

    assert [text[:6] for text in texts] == ["(1/3) ", "(2/3) ", "(3/3) "]


@settings(max_examples=150, deadline=None)
@given(st.one_of(GSM_TEXT, WORDS, MIXED, st.text(max_size=400)))
def test_every_sms_fits(text: str) -> None:
    """A gateway would split, refuse or charge what is longer."""
    assert [each for each in sms_texts(text) if not fits_one_sms(each)] == []


@pytest.mark.parametrize("count", [10, 99, 100, 120], ids="{} SMS".format)
def test_every_sms_fits_however_many_there_are(count: int) -> None:
    """The count in front grows with their number."""
    texts = sms_texts("a" * 152 * count)

    assert [each for each in texts if not fits_one_sms(each)] == []
    assert len(texts) >= count


@settings(max_examples=150, deadline=None)
@given(st.one_of(GSM_TEXT, WORDS, MIXED, st.text(max_size=400)))
def test_no_text_is_lost_but_blanks_at_the_cuts(text: str) -> None:
    """Joined again, all that the plain text says is there, in order."""
    assert without_blanks("".join(bodies(sms_texts(text)))) == without_blanks(plain(text))


@settings(max_examples=150, deadline=None)
@given(WORDS)
def test_words_stay_whole(text: str) -> None:
    """Words that fit into an SMS are never cut."""
    assert " ".join(bodies(sms_texts(text))).split() == text.split()


@settings(max_examples=100, deadline=None)
@given(st.text("abc{", min_size=161, max_size=900))
def test_a_word_longer_than_an_sms_is_cut_and_whole_again(text: str) -> None:
    """A long address must go through, cut where it must be."""
    pieces = bodies(sms_texts(text))

    assert "".join(pieces) == text
    assert all(length(piece, gsm=True) >= 151 for piece in pieces[:-1])


@pytest.mark.parametrize("sequence", EMOJI, ids=lambda sequence: "+".join(f"{ord(character):x}" for character in sequence))
def test_a_sequence_that_is_one_character_to_a_reader_is_not_cut(sequence: str) -> None:
    """Half a family, half a flag or a keycap without its key is no character."""
    sequence = unicodedata.normalize("NFC", sequence)
    texts = ["你" + "x" * offset + sequence * 60 for offset in range(12)]
    pieces = [piece for text in texts for piece in bodies(sms_texts(text))]

    assert [piece for piece in pieces if piece.lstrip("你x").replace(sequence, "")] == []


@settings(max_examples=100, deadline=None)
@given(
    st.text(
        st.characters(min_codepoint=0x10000, max_codepoint=0x1F9FF, exclude_categories=["Cn", "Co", "Mn", "Mc"]), min_size=40, max_size=120
    )
)
def test_no_surrogate_pair_is_cut(text: str) -> None:
    """Each SMS is valid UTF-16 by itself, and as long as possible."""
    assume(not is_gsm(text))
    texts = sms_texts(text)

    assert "".join(bodies(texts)) == plain(text)
    assert all(each.encode("utf-16-be").decode("utf-16-be") == each for each in texts)
