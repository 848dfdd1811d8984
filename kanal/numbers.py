"""Tracking numbers: making, reading and finding them. Not here: who gets one (the adapters) and what it stands for."""

import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import NamedTuple

from kanal.errors import InvalidInput

SYMBOLS = "23456789ABCDEFGHJKMNPQRSTWXYZ"
"""29 symbols without look-alikes (0/O, 1/I/L, U/V). 29 is prime, which makes the check symbol catch what it promises."""

LENGTH = 12
_WEIGHTS = tuple(range(LENGTH, 0, -1))


class Mention(NamedTuple):
    """A tracking number found in free text: its canonical form and where it stood."""

    number: str
    start: int
    end: int


def number_for(message_id: str, key: bytes, prefix: str) -> str:
    """The number that message `message_id` gets if it becomes a report, as `JK-7F3Q-9K2M-4XPT`.

    Eleven symbols (53 bits) come from a keyed hash: it can be neither guessed nor counted. The last is the check symbol.
    """
    value = int.from_bytes(hmac.new(key, message_id.encode(), hashlib.sha256).digest()[:16], "big")
    body = ""
    for _ in range(LENGTH - 1):
        value, digit = divmod(value, len(SYMBOLS))
        body += SYMBOLS[digit]
    return _grouped(prefix, body + check_symbol(body))


def check_symbol(body: str) -> str:
    """The symbol that makes the weighted sum of all twelve (weights 12 … 1) divisible by 29."""
    total = sum(SYMBOLS.index(symbol) * weight for symbol, weight in zip(body, _WEIGHTS, strict=False))
    return SYMBOLS[-total % len(SYMBOLS)]


def read_number(text: str, prefix: str) -> str:
    """The canonical form of what a person typed, in any case and spacing, with or without the prefix.

    *Raises:* InvalidInput("number", …) that says which rule it breaks and, for a symbol that is never used, which one.
    """
    compact = re.sub(r"[\s\-–—_.]", "", text).upper()
    if len(compact) != LENGTH and compact.startswith(prefix):
        compact = compact[len(prefix) :]
    for position, symbol in enumerate(compact, start=1):
        if symbol not in SYMBOLS:
            raise InvalidInput("number", f"symbol {position} ({symbol}) is never used in a number")
    if len(compact) != LENGTH:
        raise InvalidInput("number", f"has {len(compact)} symbols after the prefix, a number has {LENGTH}")
    if check_symbol(compact[:-1]) != compact[-1]:
        raise InvalidInput("number", "the check symbol does not fit: one symbol is wrong or two are swapped")
    return _grouped(prefix, compact)


def find_numbers(text: str, prefix: str) -> list[Mention]:
    """Valid tracking numbers inside free text, in order of appearance, each once.

    A run that only looks like a number (a word of twelve letters) is told apart by its check symbol; without the prefix
    at least one digit or a hyphen is asked for too, so that shouted words are never taken for numbers.
    """
    found: dict[str, Mention] = {}
    for mention in _mentions(text, prefix):
        found.setdefault(mention.number, mention)
    return list(found.values())


def without_numbers(text: str, prefix: str) -> str:
    """`text` with a blank for every valid tracking number in it."""
    parts, position = [], 0
    for mention in _mentions(text, prefix):
        parts.append(text[position : mention.start])
        position = mention.end
    return " ".join([*parts, text[position:]])


def _mentions(text: str, prefix: str) -> Iterator[Mention]:
    candidate, position = _candidate(prefix), 0
    while (match := candidate.search(text, position)) is not None:
        number = _valid(match, prefix)
        # What is none may begin with a word of four letters and hide one behind it.
        position = match.end() if number else match.start() + 1
        if number:
            yield Mention(number, match.start(), match.end())


def _valid(match: "re.Match[str]", prefix: str) -> str:
    typed = match.group(0)
    if not match.group("prefix") and not re.search(r"[0-9\-]", typed):
        return ""
    try:
        return read_number(typed, prefix)
    except InvalidInput:
        return ""


def _grouped(prefix: str, symbols: str) -> str:
    return f"{prefix}-{symbols[:4]}-{symbols[4:8]}-{symbols[8:]}"


def _candidate(prefix: str) -> re.Pattern[str]:
    gap = r"[ \-–]?"
    group = r"[2-9A-HJKMNP-TW-Z]{4}"
    return re.compile(rf"(?<![0-9A-Za-z])(?P<prefix>{prefix}{gap})?{group}{gap}{group}{gap}{group}(?![0-9A-Za-z])", re.IGNORECASE)
