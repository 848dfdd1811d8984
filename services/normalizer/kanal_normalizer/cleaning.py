"""Text as it arrived → text as a report keeps it. Pure. Not here: masking (kanal.masking) and what the text is about."""

import html
import re
import unicodedata

MAX_CHARACTERS = 20_000
"""Of a report's text; the whole is in the received message and, for mail, in the sealed original."""

MAX_PASSES = 8
_NESTED = re.compile(r"&(?:amp;)+")
"""The city's older systems stored &amp;amp;; undone at once, however deep."""

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_LABEL = re.compile(r"^\s*(?:permasalahan|isi laporan|laporan)\s*:\s*", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n\s*\n(?:\s*\n)+")
_BLANKS = re.compile(r"[ \t\u00a0]+")
_RUNS = re.compile(r"([.!?\-_=*~])\1{3,}")
_ASCII_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NOT_WORDS = re.compile(r"[^\w\s]|_")


def clean_text(text: str) -> str:
    """Readable text: entities and styled letters made plain (NFKC), control characters, long runs and blank lines removed.

    Cleaning twice = cleaning once.
    """
    for _ in range(MAX_PASSES):  # what is cleaned may show more to clean
        if (cleaner := _cleaned(text)) == text:
            break
        text = cleaner
    return text


def _cleaned(text: str) -> str:
    text = _LINE_ENDS.sub("\n", html.unescape(_NESTED.sub("&", text)))
    text = unicodedata.normalize("NFKC", text)
    text = _without_controls(text)
    text = _RUNS.sub(r"\1\1\1", _BLANKS.sub(" ", text))
    lines = "\n".join(line.strip() for line in text.splitlines())
    return _LABEL.sub("", _BLANK_LINES.sub("\n\n", lines)).strip()[:MAX_CHARACTERS].strip()


def _without_controls(text: str) -> str:
    if text.isascii():
        return _ASCII_CONTROLS.sub("", text)
    return "".join(character for character in text if character in "\n\t" or unicodedata.category(character)[0] != "C")


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation, for matching against the pack's words."""
    return _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).split()
