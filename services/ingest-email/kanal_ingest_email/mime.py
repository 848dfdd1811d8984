"""From the bytes of a mail to sender, subject, text and attachments; not which report it belongs to, nor its quotes.

The standard library's parser is not used for the structure: it keeps one object per line (800 MB for 25 MB of short
lines) and its parameters cost quadratic time. Here parts are slices of the raw bytes, found by boundary; the standard
library reads single header values, cut to a length at which it is quick.
"""

import binascii
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from itertools import islice
from typing import Any

import lxml.etree
import lxml.html
import msgspec
from charset_normalizer import from_bytes

from kanal.errors import InvalidInput
from kanal.language import Language, guess_language
from kanal_ingest_email.automatic import automatic_reason
from kanal_ingest_email.charsets import decoded, from_base64, readable
from kanal_ingest_email.html_text import converted, drop_quotes, is_crowded, without_tags

MAX_PARTS = 500
"""Leaves and branches together. Newsletters with every picture inline stay under 100; each part costs a parse."""

MAX_DEPTH = 30
"""Nesting of multiparts. Real mail stays under 10; every level searches the bytes below it once more."""

MAX_HEADER_BYTES = 256 * 1024
"""Header of the mail and of all its parts together. Mail servers stop at 100 KB to 1 MB; fields are searched one by one."""

MAX_TEXT_CHARACTERS = 100_000
"""Text beyond is cut: 50 pages are no report, and the raw mail is kept. Leaves room under the journal's 1 MiB limit."""

MAX_ATTACHMENTS = 20
"""Attachments taken out of the mail; the rest stays in the raw mail."""

MAX_BODY_BYTES = 1024 * 1024
"""Bytes of text parts that are read, over the whole mail: bounds decoding and conversion of HTML whatever the parts say."""

MAX_HTML_ELEMENTS = 20_000
"""Over the whole mail; beyond it HTML is only freed of its tags. Laying out costs 10 to 40 microseconds an element."""

MAX_FIELD_CHARACTERS = 10_000
"""Of a single header field. RFC 2045 parameters and RFC 5322 addresses cost quadratic time in the standard library."""

MAX_SUBJECT_CHARACTERS = 1_000
MAX_NAME_CHARACTERS = 150
"""Of a sender's or file's name; file systems take 255 bytes."""

MAX_ADDRESS_CHARACTERS = 254
"""RFC 5321 section 4.5.3.1.3: a path has 256 with its brackets."""

MAX_REFERENCES = 100
"""The latest ones are kept: they are nearest to this mail (RFC 5322 section 3.6.4)."""

_MAX_FALSE_DELIMITERS = 10_000
_CHARSET_GUESSES = 5
_GUESS_BYTES = 16 * 1024


class Attachment(msgspec.Struct, frozen=True):
    """A part of the mail that is not its text."""

    media_type: str
    """As declared, lower case; `application/octet-stream` when the declaration is none. Never sniffed."""
    name: str
    """Base name without path, control or direction characters; "" when the mail gives none."""
    content: bytes
    """Decoded from its transfer encoding; never empty."""


class Mail(msgspec.Struct, frozen=True):
    """What Kanal reads from one mail."""

    sender: str
    """Address in From with its domain in lower case; "" when there is no valid one. Nobody has proved it."""
    sender_name: str
    subject: str
    """Decoded, one line, NFC."""
    sent_at: datetime | None
    """Date in UTC as the sender claims it; None when missing or outside 2000 to 2099."""
    message_id: str
    """Without angle brackets; "" when there is none."""
    references: tuple[str, ...]
    """Ids in References, then In-Reply-To, in order, each once, without brackets."""
    text: str
    """Readable text, NFC, lines ended by "\\n"; plain text where there is some, otherwise converted from HTML."""
    attachments: tuple[Attachment, ...]
    automatic: str
    """Why this mail must not be answered automatically (see automatic.py); "" when it may be."""
    bounce_of: str
    """Message-ID of the mail of ours that could not be delivered for good; "" when this is no such report."""
    language: Language
    """Crude guess for the language of the answer."""


def parse_mail(raw: bytes, own_address: str) -> Mail:
    """Read any bytes as a mail.

    `own_address` is the mailbox that the mail came to, to recognise mail from ourselves. Cost is linear in `raw`, and
    limits are checked before anything is decoded. *Raises:* InvalidInput for `mail` (parts, nesting or header over the
    limit) and for `text` (no text, no subject and no attachment).
    """
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
    root = _read_part(raw, 0, len(raw), 0, _Spent())
    subject = _header_text(root.header, "Subject", MAX_SUBJECT_CHARACTERS)
    text = _mail_text(root, subject)
    attachments = tuple(islice(_attachments(root), MAX_ATTACHMENTS))
    if not (text or subject or attachments):
        raise InvalidInput("text", "mail has no text, no subject and no attachment")
    sender_name, sender = _sender(_field(root.header, "From"))
    return Mail(
        sender=sender,
        sender_name=sender_name,
        subject=subject,
        sent_at=_sent_at(_field(root.header, "Date")),
        message_id=next(iter(_ids(_field(root.header, "Message-ID"))), ""),
        references=_references(root.header),
        text=text,
        attachments=attachments,
        automatic=automatic_reason(root.header, own_address),
        bounce_of=_bounce_of(root),
        language=guess_language(f"{subject} {text}"),
    )


# RFC 5322 section 2.2, with blanks before the colon (section 4.5) and the "From " line of mailbox files. Possessive,
# so that no line is read twice.
_HEADER = re.compile(rb"(?:From [^\n]*+\n)?+(?:(?:[!-9;-~]++[ \t]*+:|[ \t])[^\n]*+(?:\n|\Z))*+")
_FIELD = re.compile(r"^([!-9;-~]+)[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_BLANK_LINE = re.compile(rb"\r?\n")
_DELIMITER_END = re.compile(rb"(--)?[ \t]*\r?(?:\n|\Z)")
_CONTENT_FIELD_CHARACTERS = 4_000


@dataclass(slots=True)
class _Spent:
    """What was found so far of what is limited."""

    parts: int = 0
    header_bytes: int = 0
    false_delimiters: int = 0


@dataclass(slots=True, eq=False)
class _Part:
    """One part: its header, the slice that is its body, and the parts in it."""

    header: Message
    raw: bytes
    start: int
    end: int
    children: list["_Part"] = field(default_factory=list)

    @property
    def media_type(self) -> str:
        return self.header.get_content_type()


def _read_part(raw: bytes, start: int, end: int, depth: int, spent: _Spent) -> _Part:
    if depth > MAX_DEPTH:
        raise InvalidInput("mail", f"is nested deeper than {MAX_DEPTH} levels")
    header_end = _header_end(raw, start, end)
    spent.header_bytes += header_end - start
    if spent.header_bytes > MAX_HEADER_BYTES:
        raise InvalidInput("mail", f"has more than {MAX_HEADER_BYTES} bytes of header")
    part = _Part(_header(raw[start:header_end]), raw, _body_start(raw, header_end, end), end)
    for child_start, child_end in _slices(part, spent):
        spent.parts += 1
        if spent.parts > MAX_PARTS:
            raise InvalidInput("mail", f"has more than {MAX_PARTS} parts")
        child = _read_part(raw, child_start, child_end, depth + 1, spent)
        if part.media_type == "multipart/digest":  # RFC 2046 section 5.1.5
            child.header.set_default_type("message/rfc822")
        part.children.append(child)
    return part


def _header_end(raw: bytes, start: int, end: int) -> int:
    found = _HEADER.match(raw, start, min(end, start + MAX_HEADER_BYTES + 1))
    return found.end() if found else start


def _body_start(raw: bytes, header_end: int, end: int) -> int:
    blank = _BLANK_LINE.match(raw, header_end, end)
    return blank.end() if blank else header_end


def _header(content: bytes) -> Message:
    """The fields, unfolded. 8-bit fields are UTF-8 (RFC 6532) or what old mailers wrote: Windows-1252."""
    text = _header_decoded(content, "utf-8").replace("\r\n", "\n").replace("\r", " ")
    message = Message()
    for found in _FIELD.finditer(text):
        value = found[2].replace("\n", "").strip()
        limit = _CONTENT_FIELD_CHARACTERS if found[1].lower().startswith("content-") else MAX_HEADER_BYTES
        message[found[1]] = value[:limit]
    return message


def _slices(part: _Part, spent: _Spent) -> Iterator[tuple[int, int]]:
    """Where the parts of a multipart begin and end; nothing when it is none or has no such boundary in it.

    A missing last boundary ends with the multipart around it. The line break before a delimiter belongs to the
    delimiter (RFC 2046 section 5.1.1).
    """
    boundary = _boundary(part.header)
    if not boundary:
        return
    started = -1
    for at, after, last in _delimiters(part, b"\n--" + boundary, spent):
        if started >= 0:
            yield started, max(started, at - (part.raw[at - 1 : at] == b"\r"))
        started = -1 if last else after
        if last:
            return
    if started >= 0:
        yield started, part.end


def _boundary(header: Message) -> bytes:
    if header.get_content_maintype() != "multipart":
        return b""
    return (_parameter(header, "boundary") or "").rstrip().encode("utf-8", "replace")


def _delimiters(part: _Part, mark: bytes, spent: _Spent) -> Iterator[tuple[int, int, bool]]:
    """Each delimiter line: the line break before it, the beginning of the next line, whether it is the closing one."""
    at = part.raw.find(mark, part.start - 1, part.end)  # a header always stands above, and ends with a line break
    while at >= 0:
        found = _DELIMITER_END.match(part.raw, at + len(mark), part.end)
        if found:
            yield at, found.end(), found[1] is not None
        else:
            spent.false_delimiters += 1
            if spent.false_delimiters > _MAX_FALSE_DELIMITERS:
                raise InvalidInput("mail", f"has more than {_MAX_FALSE_DELIMITERS} lines that begin like a delimiter")
        # The line break that ends one delimiter may begin the next.
        at = part.raw.find(mark, found.end() - 1 if found else at + len(mark), part.end)


def _parameter(header: Message, name: str, field_name: str = "Content-Type") -> str | None:
    """A parameter of a MIME field, RFC 2231 resolved. The standard library trips over some malformed ones."""
    try:
        value = header.get_param(name, None, field_name)
        if isinstance(value, tuple):
            charset, _, encoded = value
            return _header_decoded(encoded.encode("latin-1", "replace"), charset or "")
    except (ValueError, LookupError, TypeError):
        return None
    return value if value is None else str(value)


_ENCODED_WORD = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?]*)\?=")
_ID = re.compile(r"<([^<>\s\x00-\x1f\x7f]{1,998})>")
_BARE_ID = re.compile(r"[^<>\s\x00-\x1f\x7f]{1,998}")
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@(?:[^\W_][\w-]*\.)*[^\W_][\w-]*")


def _field(header: Message, name: str) -> str:
    return str(header.get(name, ""))[:MAX_FIELD_CHARACTERS]


def _header_text(header: Message, name: str, limit: int) -> str:
    return _one_line(_without_encoded_words(_field(header, name)), limit)


def _without_encoded_words(value: str) -> str:
    """RFC 2047 decoded. Neighbours of one charset are joined first: some mailers cut inside a character."""
    texts: list[str] = []
    pending, charset, end = b"", "", 0
    for word in _ENCODED_WORD.finditer(value):
        gap = value[end : word.start()]
        if gap.strip() or word[1].lower() != charset:
            texts += [_header_decoded(pending, charset), gap if gap.strip() or not charset else ""]
            pending, charset = b"", word[1].lower()
        pending += _word_bytes(word[2], word[3])
        end = word.end()
    return "".join([*texts, _header_decoded(pending, charset), value[end:]])


def _word_bytes(encoding: str, text: str) -> bytes:
    content = text.encode("utf-8", "replace")
    return from_base64(content) if encoding in "bB" else binascii.a2b_qp(content, header=True)


def _header_decoded(content: bytes, charset: str) -> str:
    text = decoded(content, charset)
    return content.decode("cp1252", "replace") if text is None else text


def _one_line(text: str, limit: int) -> str:
    return readable(" ".join(text.split())[:limit])[:limit]


def _sender(value: str) -> tuple[str, str]:
    """Name and address of the first valid author. Only the parsed address counts, never one in the name."""
    try:
        authors = getaddresses([value])
    except (ValueError, IndexError, TypeError, RecursionError):  # comments nested without end
        return "", ""
    if not re.search(r'["<(]', value):  # `Budi budi@…` without brackets
        authors += [("", word) for word in re.split(r"[\s,;]+", value)]
    for name, address in authors:
        if len(address) <= MAX_ADDRESS_CHARACTERS and _ADDRESS.fullmatch(address):
            local, _, domain = address.rpartition("@")
            return _one_line(_without_encoded_words(name), MAX_NAME_CHARACTERS), f"{local}@{domain.lower()}"
    return "", ""


def _sent_at(value: str) -> datetime | None:
    """RFC 5322 section 3.3: "-0000" means UTC of an unknown place."""
    try:
        sent = parsedate_to_datetime(value[:100])
        sent = sent.replace(tzinfo=UTC) if sent.tzinfo is None else sent.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return sent if 2000 <= sent.year < 2100 else None


def _ids(value: str) -> list[str]:
    """Bracketed ids; a value that is nothing but a bare id counts too (Exchange, phones)."""
    bracketed = _ID.findall(value)
    bare = value.strip()
    return bracketed or ([bare] if _BARE_ID.fullmatch(bare) else [])


def _references(header: Message) -> tuple[str, ...]:
    values = [str(value) for name in ("References", "In-Reply-To") for value in header.get_all(name, [])]
    ids = dict.fromkeys(found for value in values for found in _ids(value))
    return tuple(ids)[-MAX_REFERENCES:]


def _content(part: _Part, limit: int | None = None) -> bytes:
    """The body without its transfer encoding; at least `limit` bytes of it when it has so many."""
    # A byte takes at most three in quoted-printable and with line ends less than two in base64.
    end = part.end if limit is None else min(part.end, part.start + 4 * limit)
    encoded = memoryview(part.raw)[part.start : end]
    encoding = _field(part.header, "Content-Transfer-Encoding").strip().lower()
    if encoding == "base64":
        return from_base64(encoded)
    return binascii.a2b_qp(encoded) if encoding == "quoted-printable" else bytes(encoded)


# Subtypes that are read as text; every other text type (calendar, vcard, csv, rfc822-headers) is a file.
_PLAIN = frozenset({"text/plain", "text/markdown", "text/enriched"})
_HTML = "text/html"
# An AMP alternative repeats what the other alternatives say.
_REPEATED = "text/x-amp-html"
_FORWARDED_SUBJECT = re.compile(r"(?:fwd?|trs|teruskan)\s*:", re.IGNORECASE)
_META_CHARSET = re.compile(rb"<meta[^<>]{0,200}?charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_DATA_URI = re.compile(rb"data:[\w.+/-]{1,100};base64,[A-Za-z0-9+/=%\s]{200,}")


class _Reader:
    """Reads the text parts of one mail within the limits for the whole mail."""

    def __init__(self, *, keep_quotes: bool) -> None:
        self._keep_quotes = keep_quotes
        self._bytes_left = MAX_BODY_BYTES
        self._guesses_left = _CHARSET_GUESSES
        self._elements_left = MAX_HTML_ELEMENTS

    def text(self, part: _Part) -> str:
        """The text of a part and the parts in it; "" for files."""
        if part.media_type == "multipart/alternative" and part.children:
            plain = [child for child in part.children if child.media_type in _PLAIN]
            richest_first = [child for child in reversed(part.children) if child not in plain]
            return next((text for text in map(self.text, plain + richest_first) if text.strip()), "")
        if part.children:
            return "\n".join(text for text in map(self.text, part.children) if text.strip())
        return self._leaf(part) if _is_text(part) and self._bytes_left > 0 else ""

    def _leaf(self, part: _Part) -> str:
        if part.media_type == _HTML:
            html = self._characters(part, _DATA_URI.sub(b"", _content(part)))
            return readable(self._html(html))
        return readable(self._characters(part, _content(part, self._bytes_left)))

    def _html(self, html: str) -> str:
        """Without quoted mails; with them, or at least freed of tags, when there is nothing else."""
        tree = self._tree(html)
        if tree is None:
            return without_tags(html)
        whole = deepcopy(tree)
        if not self._keep_quotes and drop_quotes(tree):
            text = converted(tree)
            if text.strip():
                return text
        text = converted(whole)
        return text if text.strip() else without_tags(html)  # libxml2 gives up below 256 levels

    def _tree(self, html: str) -> Any:
        """The parsed document; None when it cannot be parsed or is too large to be laid out."""
        if is_crowded(html):
            return None
        parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
        try:
            tree = lxml.html.document_fromstring(html.encode("utf-8", "replace"), parser=parser)
        except (lxml.etree.LxmlError, ValueError, AssertionError):
            return None
        self._elements_left -= sum(1 for _ in islice(tree.iter(), self._elements_left + 1))
        return tree if self._elements_left >= 0 else None

    def _characters(self, part: _Part, content: bytes) -> str:
        cut = len(content) > self._bytes_left
        content = content[: self._bytes_left]
        self._bytes_left -= len(content)
        # The cut may have gone through a character of several bytes, which must not spoil the whole text.
        charset = _charset(part, content)
        for tail in range(4 if cut else 1):
            text = decoded(content[: len(content) - tail], charset)
            if text is not None:
                return text
        return self._guessed(content)

    def _guessed(self, content: bytes) -> str:
        self._guesses_left -= 1
        best = from_bytes(content[:_GUESS_BYTES]).best() if self._guesses_left >= 0 else None
        return content.decode(best.encoding if best else "latin-1", "replace")


def is_forward(subject: str) -> bool:
    """The subject says that something is passed on: the quoted mail is then the message itself."""
    return _FORWARDED_SUBJECT.match(subject) is not None


def _mail_text(root: _Part, subject: str) -> str:
    """What was forwarded is the message itself, so a forwarding subject keeps quotes in."""
    return _Reader(keep_quotes=is_forward(subject)).text(root).strip()[:MAX_TEXT_CHARACTERS].rstrip()


def _is_text(part: _Part) -> bool:
    if part.media_type in _PLAIN or part.media_type == _HTML:
        return part.header.get_content_disposition() != "attachment"
    return part.header.get_content_maintype() == "multipart"  # without parts: a broken one, shown as it is


def _charset(part: _Part, content: bytes) -> str:
    declared = _parameter(part.header, "charset") or ""
    if declared or part.media_type != _HTML:
        return declared
    found = _META_CHARSET.search(content, 0, 2048)
    return found[1].decode("ascii", "replace") if found else ""


_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}", re.ASCII)
# Besides controls: direction marks, with which "gpj.exe" is shown as "exe.jpg", and what Windows forbids.
_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_RESERVED_IN_NAME = re.compile(r'[<>:"|?*]')


def _attachments(part: _Part) -> Iterator[Attachment]:
    for child in part.children:
        yield from _attachments(child)
    if part.children or _is_text(part) or part.media_type == _REPEATED:
        return
    content = _content(part)
    if content:
        media_type = part.media_type if _MEDIA_TYPE.fullmatch(part.media_type) else "application/octet-stream"
        yield Attachment(media_type=media_type, name=_file_name(part.header), content=content)


def _file_name(header: Message) -> str:
    """Base name; RFC 2231 or, against RFC 2047 section 5 but usual, as encoded words."""
    declared = _parameter(header, "filename", "Content-Disposition") or _parameter(header, "name") or ""
    name = re.split(r"[/\\]", _UNSAFE_IN_NAME.sub("", _without_encoded_words(declared)))[-1]
    name = _RESERVED_IN_NAME.sub("_", _one_line(name, MAX_FIELD_CHARACTERS)).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if len(name) <= MAX_NAME_CHARACTERS or not dot or len(suffix) > 20:
        return name[:MAX_NAME_CHARACTERS]
    return stem[: MAX_NAME_CHARACTERS - len(suffix) - 1] + dot + suffix


_ACTION = re.compile(rb"^action[ \t]*:[ \t]*(\w+)", re.IGNORECASE | re.MULTILINE)
_ORIGINALS = frozenset({"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"})
_REPORT_BYTES = 64 * 1024


def _bounce_of(root: _Part) -> str:
    """RFC 3464: the report names what became of it, the part behind it carries the header of our mail.

    Delays (`Action: delayed`) and confirmations are no bounces: the mail may have arrived.
    """
    parts = {child.media_type: child for child in reversed(root.children)}
    status = parts.get("message/delivery-status") or parts.get("message/global-delivery-status")
    if root.media_type != "multipart/report" or status is None:
        return ""
    actions = {action.lower() for action in _ACTION.findall(_content(status, _REPORT_BYTES))}
    if actions and b"failed" not in actions:
        return ""
    ids = (_original_id(part) for name, part in parts.items() if name in _ORIGINALS)
    return next((found for found in ids if found), "")


def _original_id(part: _Part) -> str:
    content = _content(part, _REPORT_BYTES)[:_REPORT_BYTES]
    header = _header(content[: _header_end(content, 0, len(content))])
    return next(iter(_ids(_field(header, "Message-ID"))), "")
