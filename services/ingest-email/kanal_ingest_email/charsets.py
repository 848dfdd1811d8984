"""From bytes to readable text: declared and undeclared charsets, control characters, base64; not which part of a mail they are."""

import binascii
import re
import unicodedata
from encodings.aliases import aliases

# Names that stand for a smaller set than what is sent under them. Source: WHATWG Encoding Standard, section 4.2.
_WIDER = {
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# Only character encodings: not `zlib`, not `punycode` (quadratic), not `unicode_escape` (warns). A closed set also keeps
# Python from importing and remembering any name that a stranger writes.
_CODECS = frozenset(aliases.values()) - {
    *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs"),
} | {"utf_8_sig", "koi8_u", "koi8_t", "cp874", "cp720", "cp737", "cp856", "cp1006"}
_NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# UAX #15 section 13: more marks on one character are not written by any language, but sort in quadratic time.
_MAX_MARKS = 30
_GRAPHEME_JOINER = "\u034f"
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def _codec(charset: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", charset[:60].lower()).strip("_")
    name = aliases.get(name, name)
    return _WIDER.get(name, name) if name in _CODECS else ""


def decoded(content: bytes, charset: str) -> str | None:
    """As declared, else as UTF-8; None when neither fits.

    UTF-8 goes first where the declaration is Western: any bytes are valid there, while text of that charset that
    happens to be valid UTF-8 does not occur.
    """
    codec = _codec(charset)
    for name in ("utf_8", codec) if codec == "cp1252" else (codec or "utf_8", "utf_8"):
        try:
            return content.decode(name)
        except UnicodeError:
            continue
    return None


def readable(text: str) -> str:
    r"""Line ends as "\n", no control characters, no half characters, NFC."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\v", "\n").replace("\f", "\n")
    text = _SURROGATES.sub("\ufffd", _NOT_TEXT.sub("", text)).removeprefix("\ufeff")
    return text if text.isascii() else unicodedata.normalize("NFC", _stream_safe(text))


def _stream_safe(text: str) -> str:
    """A joiner inside each run of more than 30 combining marks (UAX #15, D4): normalising stays linear, here and later."""
    pieces: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MAX_MARKS:
            pieces.append(_GRAPHEME_JOINER)
            marks = 1
        pieces.append(character)
    return "".join(pieces)


def from_base64(content: bytes | memoryview) -> bytes:
    """Decoded leniently: foreign characters are skipped, a broken end is given up."""
    try:
        return binascii.a2b_base64(content)
    except binascii.Error:
        digits = bytes(content).translate(None, delete=_NOT_BASE64)
        digits = digits[:-1] if len(digits) % 4 == 1 else digits
        return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
