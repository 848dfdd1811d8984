"""What a text is about and where: the rows of understanding.csv, which an agency can read and add to. An empty category = any."""

import csv
from pathlib import Path

import pytest
from kanal_normalizer.cleaning import words_of
from kanal_normalizer.reading import read
from kanal_normalizer.understanding import OTHER, PhraseTable, Understanding

from kanal.testing import jakarta, message

ROWS = list(csv.DictReader((Path(__file__).parent / "understanding.csv").read_text("utf-8").splitlines()))
UNDERSTANDING = Understanding(jakarta())


@pytest.mark.parametrize("row", [pytest.param(row, id=row["text"]) for row in ROWS])
def test_a_text_is_understood_as_the_row_says(row: dict[str, str]) -> None:
    """Category, kelurahan and danger are recognised in what citizens really write."""
    words = read(message(text=row["text"]), jakarta()).words
    area = UNDERSTANDING.area(words).code

    assert UNDERSTANDING.category(words).code == row["category"] or not row["category"]
    assert (jakarta().areas[area].name if area else "") == row["area"]
    assert UNDERSTANDING.emergency(words) == row["emergency"]


def test_every_kelurahan_is_found_behind_its_title() -> None:
    """Whoever writes "kelurahan X" is understood, also where X is an ordinary word."""
    wrong = [
        area.name
        for area in jakarta().areas.values()
        if jakarta().areas.get(UNDERSTANDING.area(["kelurahan", *area.name.casefold().split()]).code, area._replace(name="-")).name
        != area.name
    ]

    assert wrong == []


def test_an_ambiguous_name_is_no_place_without_its_title() -> None:
    """Ordinary words ("baru", "tengah") and streets' names would send reports to the wrong kelurahan."""
    taken = [name for name in jakarta().ambiguous_areas if UNDERSTANDING.area(["di", *name.casefold().split()]).code]

    assert taken == []


def test_a_category_says_which_words_decided() -> None:
    """Agencies ask why a report came to them: the reason names the words and their sum."""
    guess = UNDERSTANDING.category(["pohon", "tumbang", "pohon"])

    assert guess == ("tree", "pohon, tumbang, pohon tumbang = 14")


def test_no_word_of_any_category_is_other() -> None:
    """What no rule understands goes to a person."""
    assert UNDERSTANDING.category(["halo"]) == (OTHER, "no word of any category")


def test_a_word_counts_once_however_often_it_is_written() -> None:
    """Shouting a word does not outweigh the others."""
    once, often = UNDERSTANDING.category(["rokok"]), UNDERSTANDING.category(["rokok"] * 5)

    assert once == often


def test_phrases_are_found_as_whole_words_in_order() -> None:
    """A phrase inside a longer word is none; overlapping phrases are all found."""
    table = PhraseTable([("lampu", 1), ("lampu jalan", 2), ("jalan", 3), ("", 4)])

    assert [(hit.value, hit.start) for hit in table.find(["lampu", "jalan", "perjalanan"])] == [(1, 0), (2, 0), (3, 1)]


@pytest.mark.parametrize(
    ("text", "danger"),
    [
        ("Fire at Jalan Sabang 12", True),
        ("Smoke and fire from the building next to us", True),
        ("There has been an accident, people hurt", True),
        ("kebakran di RT 05", True),
        ("banjir 2 meter, orang terjebak", True),
        ("Kecelakaan 2 motor di Jl Sudirman", True),
        ("tiap pagi terjebak macet", False),
        ("fire hydrant broken", False),
        ("Pothole on Jl Mawar could cause an accident", False),
        ("Lubang ini sudah bikin kecelakaan 2 kali", False),
        ("Orang terjebak macet di Tomang", False),
        ("Tidak ada api, hanya asap", False),
        ("There is no fire in the building", False),
    ],
)
def test_danger_is_known_by_the_words_of_both_languages(text: str, danger: bool) -> None:
    """Nobody who writes of fire may be left without the number to call."""
    assert bool(UNDERSTANDING.emergency(words_of(text))) is danger
