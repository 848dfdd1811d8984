"""Masking of personal data in free text. Pure: text in, text out; what is masked is told by its kind only.

One pass from left to right: first what must survive (tracking numbers, dates, clocks, amounts, coordinates), then mail addresses,
plates, and runs of digits in any spacing, which are judged by their length and how they begin. Plain words are a token only so
that a run of them is stepped over at once.
"""

import re

from kanal.numbers import check_symbol

_GAP = r"[ .\-–—/()\u00a0]"
_PLATE_CODES = (
    "A|B|D|E|F|G|H|K|L|M|N|P|R|S|T|W|Z|AA|AB|AD|AE|AG|BA|BB|BD|BE|BG|BH|BK|BL|BM|BN|BP|CC|CD|DA|DB|DC|DD|DE|DG|DH|DK|DL|DM|DN|DP|DR|DS|DT"
    "|DW|EA|EB|ED|KB|KH|KT|KU|PA|PB|RI"
)
"""First letters of Indonesian number plates. Source: Regulation of the Chief of Police 7/2021, annex."""

_MASKS = "telp|plat|nomor|email|NIK|rekening"

# A plate may not begin or end where a mask does: "0812…B 1234 C" within letters and digits is none, and must be none the second time.
# A mail address may begin behind a digit: "0812 0000 0001adi@…" is a telephone number and one.
_TOKENS = re.compile(
    rf"""
      (?P<number>\b[A-Z]{{2}}[-–\ ]?(?:[2-9A-HJKMNP-TW-Z]{{4}}[-–\ ]?){{2}}[2-9A-HJKMNP-TW-Z]{{4}}\b(?!{_GAP}?\d)|\bJK\d{{10}}\b)
    | (?P<plain>(?:[^\W\d_]{{3,}}+(?![\w.+%\-@]|\s*\d)[\s,.;:!?"']*+)+)
    | (?P<date>(?<!\d)(?:\d{{1,2}}[-./\ ]\d{{1,2}}[-./\ ](?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d|(?:19|20)\d\d\ ?[-–]\ ?(?:19|20)\d\d)
        (?!\d|{_GAP}\d{{3}}))
    | (?P<clock>(?<![\d.])[0-2]?\d[.:][0-5]\d(?:\ ?[-–]\ ?[0-2]?\d[.:][0-5]\d)?(?!{_GAP}?\d))
    | (?P<amount>\bRp\.?\ ?[1-9][\d.,]*)
    | (?P<coordinate>(?<![\d.])-?[1-9]\d{{0,2}}\.\d{{4,10}}(?![\d.]))
    | (?P<email>(?<![^\W\d])\w[\w.+%\-]{{0,127}}@[\w\-]{{1,63}}(?:\.[\w\-]{{1,63}}){{0,6}})
    | (?P<plate>\b(?<!(?:telp|plat)\])(?<!(?:nomor|email)\])(?<!NIK\])(?<!rekening\])
        (?-i:(?:{_PLATE_CODES})[\ \-]?\d{{2,4}}[\ \-]?(?!RT|RW|NO|KM)[A-Z]{{1,3}})\b(?!\[(?:{_MASKS})\]))
    | (?P<digits>\(?\+?\d(?:{_GAP}{{0,3}}\d)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Not over a mask: what was digits there ended the search the first time.
_ACCOUNT_IN_FRONT = re.compile(rf"\b(?:rek|rekening(?!\]))\b(?:(?!\[(?:{_MASKS})\])[^\d\n]){{0,20}}$", re.IGNORECASE)
_GROUPED_IN_THREES = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
_SURVIVING = frozenset({"plain", "date", "clock", "amount"})
_MAY_BE_PERSONAL = re.compile(r"[\d@]")


def mask(text: str) -> str:
    """`text` with phone, identity, account numbers, plates and mail addresses replaced by their kind. Masking twice = once."""
    if not _MAY_BE_PERSONAL.search(text):
        return text
    pieces, position = [], 0
    for token in _TOKENS.finditer(text):
        pieces += [text[position : token.start()], _masked(token, text)]
        position = token.end()
    return "".join([*pieces, text[position:]])


def _masked(token: "re.Match[str]", text: str) -> str:
    kind, found = token.lastgroup, token.group()
    if kind in _SURVIVING or (kind == "number" and _is_number(found)) or (kind == "coordinate" and _lies_in_indonesia(found)):
        return found
    if kind == "email":
        return "[email]"
    if kind == "plate":
        return "[plat]"
    if kind == "number":  # it only looks like one ("WA 8562 2222 2223"): what is behind its two letters is judged anew
        return found[:2] + mask(found[2:])
    return _judged(found, text[max(0, token.start() - 32) : token.start()])


def _judged(run: str, before: str) -> str:
    """What a run of digits is, by its length and its beginning; short ones and amounts are left as they are."""
    digits = "".join(character for character in run if character.isdigit())
    count = len(digits)
    if count == 16:
        return "[NIK]"
    if _ACCOUNT_IN_FRONT.search(before) and count >= 8:
        return "[rekening]"
    if _GROUPED_IN_THREES.fullmatch(run):
        return run
    if _is_phone(run, digits):
        return "[telp]"
    return "[nomor]" if count >= 10 else run


def _is_phone(run: str, digits: str) -> bool:
    count = len(digits)
    if run.lstrip("(").startswith("+") or digits.startswith("00"):
        return 8 <= count <= 17
    if digits.startswith(("0", "62")):
        return 9 <= count <= 15
    return digits.startswith("8") and digits[1:2] not in ("", "0") and 9 <= count <= 12


def _lies_in_indonesia(typed: str) -> bool:
    """Latitude 11° south to 6° north, longitude 95° to 141° east; anything else of this form is somebody's number."""
    degrees = float(typed)
    return -11 <= degrees <= 11 or 95 <= degrees <= 142


def _is_number(typed: str) -> bool:
    """The check symbol fits, or it is one of the city's older numbers."""
    symbols = re.sub(r"[-–\s]", "", typed).upper()
    return (symbols.startswith("JK") and symbols[2:].isdigit() and len(symbols) == 12) or check_symbol(symbols[2:-1]) == symbols[-1]
