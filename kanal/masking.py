"""Masking of personal data in free text. Pure: text in, text out; what is masked is told by its kind only."""

import re
from collections.abc import Sequence

from kanal.numbers import check_symbol

_KEEP = re.compile(r"\b(?:[A-Z]{2}[-– ]?(?:[2-9A-HJKMNP-TW-Z]{4}[-– ]?){2}[2-9A-HJKMNP-TW-Z]{4}|JK\d{10})\b", re.IGNORECASE)
"""Tracking numbers, old and new: they look like account numbers and must survive."""

RULES: Sequence[tuple[str, re.Pattern[str]]] = (
    ("[email]", re.compile(r"[\w.+%\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){0,6}")),
    # Indonesian identity numbers: 16 digits, also typed in groups (NIK and KK are told apart by no rule).
    ("[NIK]", re.compile(r"(?<!\d)\d{2}(?:[ .\-]?\d){14}(?!\d)")),
    # +62…, 62…, 08… with any usual separators; 7 to 13 digits behind the prefix.
    ("[telp]", re.compile(r"(?<![\d+])(?:\+|00)?62[ .\-]?(?:\(0\)[ ]?)?[1-9](?:[ .\-()]?\d){6,12}(?!\d)")),
    ("[telp]", re.compile(r"(?<![\d+])\(?0[1-9]\d{0,2}\)?(?:[ .\-]?\d){6,10}(?!\d)")),
    ("[telp]", re.compile(r"\+[1-9](?:[ .\-()]?\d){7,14}(?!\d)")),
    # A mobile number written without its leading 0 (812…): ten to twelve digits that begin with 8.
    ("[telp]", re.compile(r"(?<![\d.,])8[1-9]\d(?:[ .\-]?\d){7,9}(?!\d)")),
    ("[rekening]", re.compile(r"(?<=rek)(?:ening)?(?:[ .:]*(?:no|nomor)?[ .:]*)(?:\d[ .\-]?){8,18}(?!\d)", re.IGNORECASE)),
    # Number plates: one or two letters, one to four digits, one to three letters, written in capitals.
    ("[plat]", re.compile(r"\b[A-Z]{1,2} ?\d{3,4} ?[A-Z]{2,3}\b")),
    ("[nomor]", re.compile(r"(?<![\d.,])\d{10,20}(?![\d.,]?\d)")),
)


def mask(text: str) -> str:
    """`text` with phone, identity, account numbers, plates and mail addresses replaced by their kind. Masking twice = once."""
    pieces, position = [], 0
    for kept in _KEEP.finditer(text):
        if not _is_number(kept.group()):
            continue
        pieces += [_mask(text[position : kept.start()]), kept.group()]
        position = kept.end()
    return "".join([*pieces, _mask(text[position:])])


def _is_number(typed: str) -> bool:
    """A phone without 0 and 1 behind a word of two letters ("WA 6285…") has the shape of a number, but not its check symbol."""
    symbols = re.sub(r"[-– ]", "", typed).upper()
    return (len(symbols) == 12 and symbols.startswith("JK") and symbols[2:].isdigit()) or check_symbol(symbols[2:-1]) == symbols[-1]


def _mask(text: str) -> str:
    for kind, pattern in RULES:
        text = pattern.sub(kind, text)
    return text
