"""Tracking numbers: every promise about mistyped, spoken and free-text numbers."""

import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanal.errors import InvalidInput
from kanal.numbers import LENGTH, SYMBOLS, check_symbol, find_numbers, number_for, read_number

KEY = b"k" * 32
SAMPLE = [number_for(f"message-{i}", KEY, "JK") for i in range(200)]
GOLDEN = {
    "message-0": "JK-ND4A-QWPQ-H9QZ",
    "message-1": "JK-N589-DMG9-E9PH",
    "message-2": "JK-WYXA-6NZ8-PGJ6",
}
body = st.text(SYMBOLS, min_size=LENGTH - 1, max_size=LENGTH - 1)


def is_refused(symbols: str) -> bool:
    try:
        read_number(symbols, "JK")
    except InvalidInput:
        return True
    return False


def compact(number: str) -> str:
    return number.removeprefix("JK").replace("-", "")


@pytest.mark.parametrize(("message_id", "number"), GOLDEN.items())
def test_the_number_of_a_message_never_changes(message_id: str, number: str) -> None:
    """Golden vectors: a number that was promised to a citizen is computed the same by every later release."""
    assert number_for(message_id, KEY, "JK") == number


def test_another_key_gives_other_numbers() -> None:
    """Without the key of the installation a number cannot be computed from a message id."""
    assert not {number_for(f"message-{i}", b"x" * 32, "JK") for i in range(200)} & set(SAMPLE)


def test_numbers_have_the_documented_form() -> None:
    """Prefix, then three groups of four of the 29 symbols without look-alikes."""
    for number in SAMPLE:
        prefix, *groups = number.split("-")
        assert (prefix, [len(group) for group in groups]) == ("JK", [4, 4, 4])
        assert set("".join(groups)) <= set("23456789ABCDEFGHJKMNPQRSTWXYZ")
    assert len(set(SAMPLE)) == len(SAMPLE)


def test_the_weighted_sum_of_every_number_is_divisible_by_29() -> None:
    """The check symbol is the one that design names: weights 12 … 1, modulo 29, computed here a second time."""
    for number in SAMPLE:
        total = sum("23456789ABCDEFGHJKMNPQRSTWXYZ".index(s) * (12 - i) for i, s in enumerate(compact(number)))
        assert total % 29 == 0


def test_every_single_wrong_symbol_is_caught() -> None:
    """One wrong symbol, anywhere, whichever: 200 numbers × 12 places × 28 symbols, none is taken for a number."""
    missed = [
        (number, place, wrong)
        for number in map(compact, SAMPLE)
        for place in range(LENGTH)
        for wrong in SYMBOLS
        if wrong != number[place] and not is_refused(number[:place] + wrong + number[place + 1 :])
    ]
    assert missed == []


@pytest.mark.parametrize("distance", [1, 2], ids=["adjacent", "jump"])
def test_every_swap_of_two_symbols_is_caught(distance: int) -> None:
    """Two neighbours, or two with one between them, typed in the wrong order are always noticed."""
    missed, tried = [], 0
    for number in map(compact, SAMPLE):
        for place in range(LENGTH - distance):
            symbols = list(number)
            symbols[place], symbols[place + distance] = symbols[place + distance], symbols[place]
            swapped = "".join(symbols)
            if swapped != number:
                tried += 1
                missed += [] if is_refused(swapped) else [(number, place)]
    assert tried > 1500
    assert missed == []


@given(body)
def test_any_eleven_symbols_with_their_check_symbol_are_a_number(symbols: str) -> None:
    """The check symbol exists for every body, and reading gives the grouped form."""
    whole = symbols + check_symbol(symbols)
    assert read_number(whole, "JK") == f"JK-{whole[:4]}-{whole[4:8]}-{whole[8:]}"


WRITTEN = {
    "as printed": "JK-N589-DMG9-E9PH",
    "small letters": "jk-n589-dmg9-e9ph",
    "without prefix": "N589-DMG9-E9PH",
    "without anything": "n589dmg9e9ph",
    "spaces": " JK N589 DMG9 E9PH ",
    "dots": "JK.N589.DMG9.E9PH",
    "underscores": "jk_n589_dmg9_e9ph",
    "dashes of a phone's keyboard": "JK–N589—DMG9–E9PH",
    "one by one": "J K N 5 8 9 D M G 9 E 9 P H",
    "line break and tab": "JK-N589\nDMG9\tE9PH",
}


@pytest.mark.parametrize("typed", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_number_is_read_however_it_is_written(typed: str) -> None:
    """Case, spacing and prefix do not matter."""
    assert read_number(typed, "JK") == "JK-N589-DMG9-E9PH"


@given(st.lists(st.sampled_from(["", " ", "-", ".", "\n", "–"]), min_size=14, max_size=14), st.integers(0, 2**14))
def test_separators_and_case_never_matter(gaps: list[str], capitals: int) -> None:
    """Any separators between any symbols, in any mixture of cases."""
    symbols = "JKN589DMG9E9PH"
    typed = "".join((s if capitals >> i & 1 else s.lower()) + gap for i, (s, gap) in enumerate(zip(symbols, gaps, strict=True)))
    assert read_number(typed, "JK") == "JK-N589-DMG9-E9PH"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        pytest.param("JK-N589-DMG9-E9PO", "symbol 12 (O)", id="letter O"),
        pytest.param("JK-N589-DMG9-19PH", "symbol 9 (1)", id="figure one"),
        pytest.param("N589-DMGÜ-E9PH", "symbol 8 (Ü)", id="umlaut without prefix"),
        pytest.param("JK-N589-DMG9-E9P", "has 11 symbols after the prefix", id="one missing"),
        pytest.param("JK-N589-DMG9-E9PHR", "has 13 symbols after the prefix", id="one too many"),
        pytest.param("N589-DMG9-E9P", "has 11 symbols", id="one missing without prefix"),
        pytest.param("", "has 0 symbols", id="nothing"),
        pytest.param("JK-N589-DMG9-E9PS", "check symbol", id="wrong check symbol"),
    ],
)
def test_a_mistyped_number_is_told_what_is_wrong(typed: str, said: str) -> None:
    """The error names the rule, and a symbol that is never used with its place behind the prefix."""
    with pytest.raises(InvalidInput) as error:
        read_number(typed, "JK")
    assert error.value.field == "number"
    assert said in error.value.rule


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_invalid_input(text: str) -> None:
    """Reading never fails in another way, and what it gives can be read again."""
    try:
        number = read_number(text, "JK")
    except InvalidInput:
        return
    assert read_number(number, "JK") == number


def found(text: str) -> list[str]:
    return [mention.number for mention in find_numbers(text, "JK")]


IN_TEXT = {
    "alone": "JK-N589-DMG9-E9PH",
    "in a sentence": "Halo, bagaimana laporan JK-N589-DMG9-E9PH? Terima kasih.",
    "small and compact": "cek jkn589dmg9e9ph dong",
    "with spaces": "CEK JK N589 DMG9 E9PH",
    "without prefix": "nomornya N589-DMG9-E9PH ya",
    "without prefix, spaces": "tolong dicek N589 DMG9 E9PH",
    "in brackets": "(JK-N589-DMG9-E9PH)",
    "in an address": "https://kanal.example/r/JK-N589-DMG9-E9PH?lang=id",
    "behind a word of four letters": "laporan saya N589 DMG9 E9PH bagaimana",
    "before a word of four letters": "N589 DMG9 E9PH saya tanya",
    "twice": "JK-N589-DMG9-E9PH dan sekali lagi n589dmg9e9ph",
}


@pytest.mark.parametrize("text", IN_TEXT.values(), ids=IN_TEXT.keys())
def test_a_number_is_found_in_free_text(text: str) -> None:
    """In the ways people write it into a message, and once however often it stands there."""
    assert found(text) == ["JK-N589-DMG9-E9PH"]


def test_several_numbers_are_found_in_their_order_with_their_places() -> None:
    """The place is that of the first mention, so that the words around it can be judged."""
    text = "lihat JK-WYXA-6NZ8-PGJ6 dan JK-N589-DMG9-E9PH"
    mentions = find_numbers(text, "JK")
    assert [mention.number for mention in mentions] == ["JK-WYXA-6NZ8-PGJ6", "JK-N589-DMG9-E9PH"]
    assert [text[mention.start : mention.end] for mention in mentions] == ["JK-WYXA-6NZ8-PGJ6", "JK-N589-DMG9-E9PH"]


WORD = "KEBAKARAN" + "SB"
LETTERS = WORD + check_symbol(WORD)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LETTERS, id="twelve letters"),
        pytest.param(LETTERS.lower(), id="small"),
        pytest.param(f"{LETTERS[:4]} {LETTERS[4:8]} {LETTERS[8:]}", id="three words of four"),
        pytest.param("JK-N589-DMG9-E9PS", id="wrong check symbol"),
        pytest.param("xN589DMG9E9PH", id="inside a word"),
        pytest.param("N589DMG9E9PH7", id="longer run"),
        pytest.param("0812 3456 7890", id="phone"),
        pytest.param("JK2301150001", id="older number of the city"),
    ],
)
def test_what_only_looks_like_a_number_is_not_taken(text: str) -> None:
    """Shouted words that happen to fit the check symbol, mistyped numbers, parts of longer runs."""
    assert len(LETTERS) == LENGTH
    assert LETTERS.isalpha()
    assert not is_refused(LETTERS)
    assert found(text) == []


def test_twelve_letters_with_the_prefix_are_a_number() -> None:
    """Who writes the prefix means a number, also one without figures."""
    assert found(f"JK-{LETTERS[:4]}-{LETTERS[4:8]}-{LETTERS[8:]}") == [read_number(LETTERS, "JK")]


@given(st.text(string.ascii_letters + string.digits + " -.,?\n", max_size=30), st.sampled_from(SAMPLE))
def test_a_prefixed_number_is_found_after_any_words(before: str, number: str) -> None:
    """Whatever stands before it on another line."""
    assert number in found(f"{before}.\n{number}")


def test_neighbouring_messages_do_not_have_neighbouring_numbers() -> None:
    """Numbers cannot be counted: those of message-1, message-2 … are in no order and share no beginning."""
    assert sorted(SAMPLE) != SAMPLE
    assert not any(one[:7] == other[:7] for one, other in pairwise(SAMPLE))
