"""How a message is read: numbers it names, what it seems to want (intents.csv), what its subject adds."""

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kanal_normalizer.reading import Reading, read

from kanal.masking import mask
from kanal.numbers import SYMBOLS, read_number
from kanal.testing import jakarta, message, number

NUMBER = number("reported before")
STRANGERS = number("of a stranger")
WRONG = NUMBER[:-1] + SYMBOLS[(SYMBOLS.index(NUMBER[-1]) + 1) % len(SYMBOLS)]
SPELLINGS = {
    "{number}": NUMBER,
    "{number in lower case}": NUMBER.lower(),
    "{number without hyphens}": NUMBER.replace("-", ""),
    "{number with blanks}": NUMBER.replace("-", " "),
    "{number with en dashes}": NUMBER.replace("-", "–"),
    "{number without prefix}": NUMBER[3:],
    "{symbols only}": NUMBER[3:].replace("-", ""),
    "{number in wide letters}": "".join(chr(ord(symbol) + 0xFEE0) for symbol in NUMBER),
    "{wrong number}": WRONG,
    "{wrong number without hyphens}": WRONG.replace("-", ""),
}
ROWS = list(csv.DictReader((Path(__file__).parent / "intents.csv").read_text("utf-8").splitlines()))


def reading(text: str, **changes: Any) -> Reading:
    return read(message(text=text, **changes), jakarta())


def intent(read_as: Reading) -> str:
    """The intent in the words of intents.csv."""
    seen = {"ask": read_as.asks, "not fixed": read_as.says_not_fixed, "new": read_as.wants_new}
    return " and ".join(name for name, there in seen.items() if there) or "report"


def spelled_out(text: str) -> str:
    for placeholder, spelling in SPELLINGS.items():
        text = text.replace(placeholder, spelling)
    return text


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row['intent']}: {row['text']}") for row in ROWS])
def test_an_intent_is_recognised_as_the_row_says(row: dict[str, str]) -> None:
    """Questions, BELUM and LAPOR are understood in the spellings of citizens, and nothing else is taken for them."""
    assert intent(reading(spelled_out(row["text"]))) == row["intent"]


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if "wrong" not in name])
def test_a_number_in_any_spelling_is_mentioned_in_its_canonical_form(spelling: str) -> None:
    """Rules compare numbers: however it is typed, they see one form."""
    assert reading(f"Menyusul laporan {SPELLINGS[spelling]} kemarin").mentions == (NUMBER,)


@settings(max_examples=100, deadline=None)
@given(st.text("- –", min_size=0, max_size=1), st.booleans(), st.sampled_from(["", "CEK ", "status: ", "Cek no. "]))
def test_a_question_with_any_gap_between_the_groups_asks_for_that_number(gap: str, lower: bool, command: str) -> None:
    """A number is typed with hyphens, blanks or nothing between its groups, in any case."""
    typed = NUMBER.replace("-", gap)
    read_as = reading(command + (typed.lower() if lower else typed))

    assert (read_as.asks, read_as.mentions) == (True, (NUMBER,))


def test_numbers_are_mentioned_once_each_in_their_order() -> None:
    """The first number named is the one that a rule takes."""
    assert reading(f"{STRANGERS} dan {NUMBER}, {STRANGERS}").mentions == (STRANGERS, NUMBER)


def test_an_older_number_is_told_apart_from_ours() -> None:
    """Numbers of the city's earlier system are references, not reports of Kanal."""
    read_as = reading("Menyusul laporan jk2301010001 tahun lalu, JK2301010001")

    assert (read_as.mentions, read_as.old_numbers) == ((), ("JK2301010001",))


@pytest.mark.parametrize(
    ("typed", "asked_for"),
    [
        pytest.param(WRONG, WRONG, id="one-symbol-wrong"),
        pytest.param(WRONG.lower(), WRONG, id="one-symbol-wrong-in-lower-case"),
        pytest.param("jk-p6f4-e96r-p46a", "JK-P6F4-E96R-P46A", id="groups-that-look-like-plates"),
        pytest.param("JK-AAAA-AAAA-AAAA", "JK-AAAA-AAAA-AAAA", id="letters-only"),
        pytest.param("JK-0812-0000-0001", "JK-[TELP]", id="a-phone-behind-the-prefix"),
        pytest.param("12345", "12345", id="digits"),
        pytest.param("jk2301010001", "", id="older-system: is one"),
        pytest.param("081200000001", "[TELP]", id="a-phone-is-masked"),
        pytest.param("3171010101900001", "[NIK]", id="an-identity-number-is-masked"),
    ],
)
def test_what_is_typed_behind_cek_is_told_back_masked(typed: str, asked_for: str) -> None:
    """The answer names what was not understood, but never a personal number."""
    assert reading(f"CEK {typed}").asked_for.upper() == asked_for


@pytest.mark.parametrize(
    ("subject", "body", "text"),
    [
        pytest.param("Lampu mati", "", "Lampu mati", id="no-body: the subject is the text"),
        pytest.param("Lampu mati", " \n ", "Lampu mati", id="blank-body: the subject is the text"),
        pytest.param("", "Lampu mati", "Lampu mati", id="no-subject"),
        pytest.param("Lampu mati", "Sejak kemarin", "Lampu mati\nSejak kemarin", id="subject-first"),
        pytest.param("LAMPU MATI!", "Lampu mati di Cideng", "Lampu mati di Cideng", id="said-again-in-the-body"),
        pytest.param("Re: RE: Fwd: Bls: Lampu mati", "Sejak kemarin", "Lampu mati\nSejak kemarin", id="reply-marks-go"),
        pytest.param("Fwd:", "Lampu mati", "Lampu mati", id="nothing-but-a-mark"),
        pytest.param("Laporan", f"CEK {NUMBER}", f"CEK {NUMBER}", id="a-command-in-the-body-stands-alone"),
        pytest.param("Laporan", "BELUM", "BELUM", id="belum-in-the-body-stands-alone"),
        pytest.param("Re: Lampu mati", "CEK", "CEK", id="a-command-under-an-old-subject-stands-alone"),
        pytest.param("Lampu mati", f"BELUM {WRONG}", f"BELUM {WRONG}", id="a-command-with-a-mistyped-number-stands-alone"),
        pytest.param(
            "Lampu mati", "Belum diperbaiki sejak minggu lalu", "Lampu mati\nBelum diperbaiki sejak minggu lalu", id="words-are-no-number"
        ),
        pytest.param("Lampu mati", "Cek tolong", "Lampu mati\nCek tolong", id="a-report-in-the-subject-is-kept"),
        pytest.param(f"CEK {NUMBER}", "", f"CEK {NUMBER}", id="a-command-in-the-subject"),
    ],
)
def test_a_subject_goes_in_front_only_where_it_says_something_of_its_own(subject: str, body: str, text: str) -> None:
    """Many citizens write all in the subject; a subject must neither be lost nor said twice nor hide a command."""
    assert reading(body, subject=subject).text == text


def test_the_subject_of_a_reply_is_ours_and_left_out() -> None:
    """A reply carries our own subject with the number: it is not what the citizen says."""
    read_as = reading("sudah sampai mana?", subject=f"Re: Laporan Anda [{NUMBER}]", reply_to=NUMBER)

    assert (read_as.text, read_as.asks) == ("sudah sampai mana?", True)


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ("sudah sampai mana?", True),
        ("Bagaimana kelanjutan laporan saya?", True),
        ("gmn pak", True),
        ("Kapan?", True),
        ("status", True),
        ("any news?", True),
        ("What is the status of my report?", True),
        ("CEK", True),
        ("Terima kasih", False),
        ("ok", False),
        ("Lampunya masih mati", False),
        ("Kapan lampunya diganti, sudah dua minggu gelap", False),
        ("mana " * 13, False),
        ("", False),
    ],
)
def test_a_reply_asks_only_when_it_says_nothing_else(body: str, asks: bool) -> None:
    """A reply that only asks is answered; whatever tells something must reach the agency."""
    assert reading(body, reply_to=NUMBER).asks == asks


def test_the_same_words_without_a_reply_token_do_not_ask() -> None:
    """Without a report to ask about, "how is it going" is no status question."""
    assert not reading("sudah sampai mana?").asks


def test_a_long_text_that_begins_with_belum_is_a_report() -> None:
    """ "Belum ada …" begins many reports: BELUM is short, or names the report."""
    long = "Belum ada perbaikan " + "sejak bulan lalu " * 20

    assert not reading(long).says_not_fixed
    assert reading(f"{long} {NUMBER}").says_not_fixed


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Lampu mati, di Cideng!", "lampu  MATI di cideng", True),
        ("Lampu mati di Cideng", "Lampu mati di Serdang", False),
    ],
)
def test_texts_are_the_same_when_their_words_are(first: str, second: str, same: bool) -> None:
    """A repeat is known by its words, not by case, marks and blanks."""
    assert (reading(first).text_hash == reading(second).text_hash) == same


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.text(max_size=40))
def test_any_text_can_be_read(text: str, subject: str) -> None:
    """No text of a citizen makes reading fail; what is kept of it is masked to the end."""
    read_as = reading(text, subject=subject)

    assert mask(read_as.masked) == read_as.masked
    assert all(read_number(mention, "JK") == mention for mention in read_as.mentions)
