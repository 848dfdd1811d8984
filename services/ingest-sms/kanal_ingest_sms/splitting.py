"""SMS text: GSM-7 or UCS-2, and splitting on clean borders. Pure.

Source: 3GPP TS 23.038 (default alphabet and its extension table); 160/70 characters in one SMS. Kanal splits itself into
whole SMS of their own instead of concatenated parts: the gateway's API takes one text at a time.
"""

import re
import unicodedata
from itertools import count

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("^{}\\[~]|€\f")
GSM_CHARACTERS = 160
UCS2_UNITS = 70
_PLAIN = str.maketrans(
    {"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "\u00a0": " ", "`": "'", "•": "-", "\t": " "}
)
"""Typography that would turn 160 characters into 70 and says nothing."""


def sms_texts(text: str) -> list[str]:
    """`text` as one SMS, or as several that each fit one: "(1/2) …". Never cuts a character in two; cuts words only when it must."""
    text = plain(text)
    gsm = is_gsm(text)
    limit = GSM_CHARACTERS if gsm else UCS2_UNITS
    if length(text, gsm=gsm) <= limit:
        return [text]
    for digits in count(1):  # "(1/9) " needs less room than "(10/12) "
        pieces = _pieces(text, limit - 2 * digits - 4, gsm=gsm)
        if len(pieces) < 10**digits:
            return [f"({index}/{len(pieces)}) {piece}" for index, piece in enumerate(pieces, start=1)]
    raise AssertionError("a text has an end")


def plain(text: str) -> str:
    """Typographic characters replaced by their plain twins, and accents that GSM-7 lacks where that makes the text GSM-7."""
    text = unicodedata.normalize("NFC", text).translate(_PLAIN).strip()
    if is_gsm(text):
        return text
    bare = "".join(_bare(character) for character in text)
    return bare if is_gsm(bare) else text


def is_gsm(text: str) -> bool:
    """Every character is in the default alphabet or its extension."""
    return all(character in GSM_BASIC or character in GSM_EXTENDED for character in text)


def length(text: str, *, gsm: bool) -> int:
    """Septets with GSM-7 (extended characters take two), else UTF-16 code units (emoji take two)."""
    return sum(_units(character, gsm=gsm) for character in text)


def _units(character: str, *, gsm: bool) -> int:
    if gsm:
        return 2 if character in GSM_EXTENDED else 1
    return 2 if ord(character) > 0xFFFF else 1


def _pieces(text: str, limit: int, *, gsm: bool) -> list[str]:
    pieces: list[str] = []
    current = ""
    for word in re.findall(r"\S+\s*", text):
        if current and length((current + word).rstrip(), gsm=gsm) > limit:
            pieces.append(current.rstrip())
            current = ""
        current += word
        while length(current.rstrip(), gsm=gsm) > limit:
            head = _longest(current, limit, gsm=gsm)
            pieces.append(head)
            current = current[len(head) :]
    return [*pieces, current.rstrip()] if current.strip() else pieces


def _longest(text: str, limit: int, *, gsm: bool) -> str:
    """As many characters as fit; one that a combining mark, a joiner or a skin tone follows is not parted from it."""
    used, end = 0, 0
    for end, character in enumerate(text):  # noqa: B007 (the index is wanted after the loop)
        used += _units(character, gsm=gsm)
        if used > limit:
            break
    cut = end
    while cut > 1 and (_clings(text[cut]) or text[cut - 1] == "\u200d" or _halves_a_flag(text, cut)):
        cut -= 1
    return text[: cut if cut > 1 else end]


def _clings(character: str) -> bool:
    return unicodedata.category(character).startswith("M") or character == "\u200d" or "\U0001f3fb" <= character <= "\U0001f3ff"


def _halves_a_flag(text: str, cut: int) -> bool:
    """A flag is two letters of a country, each a character: a cut behind an odd one parts them."""
    before = re.search(r"[\U0001f1e6-\U0001f1ff]*$", text[:cut])
    return "\U0001f1e6" <= text[cut] <= "\U0001f1ff" and before is not None and len(before.group()) % 2 == 1


def _bare(character: str) -> str:
    if character in GSM_BASIC or character in GSM_EXTENDED:
        return character
    return "".join(part for part in unicodedata.normalize("NFD", character) if not unicodedata.combining(part))
