"""In which language a citizen is answered."""

import pytest

from kanal.language import guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("There is a fire in Kelurahan Menteng, people are trapped!", "en"),
        ("CHECK JK-7F3Q-9K2M-4XPT", "en"),
        ("CEK JK-7F3Q-9K2M-4XPT", "id"),
        ("Lampu jalan mati di kelurahan Cideng", "id"),
        ("JK-7F3Q-9K2M-4XWE", "id"),
        ("NOT FIXED JK-7F3Q-9K2M-4XPT", "en"),
        ("Street light broken near Menteng station", "en"),
        ("Kebakaran belakang Mall of Indonesia, Kelapa Gading!", "id"),
        ("Banjir Jl Raya Bekasi depan The Park", "id"),
        ("Pohon tumbang Kelapa Gading, check lokasi", "id"),
        ("Mall of Indonesia", "id"),
        ("", "id"),
    ],
)
def test_language_is_guessed_from_frequent_words(text: str, language: str) -> None:
    """Without a sign of English it is Indonesian."""
    assert guess_language(text) == language
