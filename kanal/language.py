"""Which language a citizen writes in, to be answered in it. Pure, and crude: a wrong guess costs an answer in the other one."""

import re
from typing import Literal

Language = Literal["id", "en"]

_COMMAND = re.compile(r"\W*(?:check|not fixed|new report)\b", re.IGNORECASE)
"""What our English texts tell people to say."""


_WORD = re.compile(r"(?<![\w-])[a-z]+(?![\w-])")
"""Whole words: "WE" at the end of a tracking number is not English."""

# fmt: off
_INDONESIAN = frozenset({
    "yang", "di", "dan", "tidak", "saya", "ini", "itu", "ada", "untuk", "dengan", "sudah", "mohon", "dari", "ke", "kami", "belum",
    "pak", "bu", "tolong", "rusak", "jalan", "pada", "lampu", "mati", "sampah", "banjir", "pohon", "tumbang", "kebakaran", "depan",
    "belakang", "dekat", "samping", "kel", "kelurahan", "menumpuk", "berlubang", "got", "mampet", "macet", "gang", "jl", "lokasi", "masih",
    "rumah", "warga", "air", "lapor", "cek",
})
_ENGLISH = frozenset({
    "the", "and", "is", "of", "to", "please", "there", "for", "not", "has", "been", "my", "with", "this", "are", "it", "was",
    "on", "you", "have", "we", "in", "at", "street", "road", "broken", "near", "light", "lamp", "pothole", "hole", "garbage", "trash",
    "flood", "flooded", "fire", "tree", "fallen", "water", "our", "still", "no", "when", "how", "what", "will", "be", "front", "help",
})
# fmt: on


def guess_language(text: str) -> Language:
    """English when it begins with a command of ours in English, or has more common English words than Indonesian ones.

    One alone is none: places are called "Mall of Indonesia".
    """
    if _COMMAND.match(text):
        return "en"
    words = _WORD.findall(text[:5_000].lower())
    english = sum(word in _ENGLISH for word in words)
    return "en" if english >= 2 and english > sum(word in _INDONESIAN for word in words) else "id"
