"""Which language a citizen writes in, to be answered in it. Pure, and crude: a wrong guess costs an answer in the other one."""

import re
from typing import Literal

Language = Literal["id", "en"]

_WORD = re.compile(r"(?<![\w-])[a-z]+(?![\w-])")
"""Whole words: "WE" at the end of a tracking number is not English."""

# fmt: off
_INDONESIAN = frozenset({
    "yang", "di", "dan", "tidak", "saya", "ini", "itu", "ada", "untuk", "dengan", "sudah", "mohon", "dari", "ke", "kami", "belum",
    "pak", "bu", "tolong", "rusak", "jalan", "pada",
})
_ENGLISH = frozenset({
    "the", "and", "is", "of", "to", "please", "there", "for", "not", "has", "been", "my", "with", "this", "are", "it", "was",
    "on", "you", "have", "we", "in", "at", "check", "street", "road", "broken",
})
# fmt: on


def guess_language(text: str) -> Language:
    """English when more of its common words stand in `text` than Indonesian ones."""
    words = _WORD.findall(text[:5_000].lower())
    english = sum(word in _ENGLISH for word in words)
    return "en" if english > sum(word in _INDONESIAN for word in words) else "id"
