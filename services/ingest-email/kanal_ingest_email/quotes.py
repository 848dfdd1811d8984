"""Cuts quoted mails and signatures out of plain text; not out of HTML, and no greetings or disclaimers.

Everything is decided by whole lines in one pass. Long lines are never markers, and patterns only see short pieces, so
the cost is linear in the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST_MARKER_LINE = 500
_LONGEST_ATTRIBUTION_LINES = 4
_LONGEST_HEADER_LINES = 12
_LONGEST_BARE_SIGNATURE = 6

_KEPT, _QUOTE, _SIGNATURE = 0, 1, 2

_QUOTED = re.compile(r"[ \t\u00a0]{0,4}>")
# A forward is not a quote: it is what the sender passes on. Gmail, Apple Mail, Thunderbird, Yahoo.
_FORWARD = re.compile(
    r"\s{0,4}(?:-{2,20}\s?(?:forwarded message|pesan (?:yang )?(?:di)?terus(?:kan|an))\s?-{2,20}"
    r"|begin forwarded message|(?:awal|mulai) pesan (?:yang )?(?:di)?terus(?:kan|an))\s?:?\s{0,4}",
    re.IGNORECASE,
)
# Outlook, BlackBerry, AOL, Samsung.
_ORIGINAL = re.compile(
    r"\s{0,4}-{2,20}\s?(?:original message|original appointment|reply message|pesan (?:asli|awal|balasan))\s?-{2,20}\s{0,4}", re.IGNORECASE
)
_RULE = re.compile(r"\s{0,4}(?:_{10,}|-{10,})\s{0,4}")
_UNDERSCORES = re.compile(r"\s{0,4}_{20,}\s{0,4}")

# "On Mon, 23 Nov 2026 at 10.12 … wrote:", "Pada Sen, 23 Nov 2026 pukul 10.12 … menulis:", Yahoo's "--- On …".
_OPENER = re.compile(r"[\s-]{0,8}(?:On|Pada|Tanggal)\s", re.IGNORECASE)
_CLOSER = re.compile(r"\b(?:wrote|writes|menulis)\s?:[\s*]{0,4}$")
# Gmail in some languages: "2026-11-23 10:12 GMT+07:00 Budi <budi@…>:".
_DATED_ADDRESS = re.compile(r"\s{0,4}\d{4}[-/]\d\d?[-/]\d\d?\s[^<>]{1,200}<[^<>\s]{1,254}>\s?:\s{0,4}")

_FIELD = re.compile(
    r"[\s*]{0,6}(?:(?P<author>from|dari|pengirim)|(?P<date>sent|date|dikirim|terkirim|tanggal|waktu)"
    r"|(?P<recipient>to|kepada|untuk|ke)|(?P<subject>subject|subjek|perihal|judul))\*?\s?:",
    re.IGNORECASE,
)
_TIME_OF_DAY = re.compile(r"\d{1,2}[.:]\d{2}")

_DEVICE = (
    r"iphone|ipad|ipod|blackberry|android|samsung|galaxy|xiaomi|redmi|poco|oppo|vivo|realme|huawei|infinix|nokia|asus|lenovo"
    r"|windows|mail|outlook|gmail|phone|smartphone|tablet|mobile|cell|device|handheld|hp|handphone|ponsel|telepon|perangkat"
)
# A few words, one of them a device or a client, and no comma: "Sent from my desk, is much easier" is a sentence.
_SENT_FROM = re.compile(
    rf"\W{{0,4}}(?:(?:sent|send) (?:from|via|with|using)(?=(?: [^\s,]{{1,40}}){{1,7}}\W{{0,4}}$)"
    rf"|(?:di|ter)kirim (?:dari|melalui|lewat|dengan|menggunakan)(?=(?: [^\s,]{{1,40}}){{1,5}}\W{{0,4}}$))"
    rf" [^,]{{0,150}}?\b(?:{_DEVICE})\b[^,]{{0,150}}",
    re.IGNORECASE,
)
_ADVERTISED = re.compile(
    r"\W{0,4}(?:get|dapatkan|unduh) (?:outlook|yahoo mail|gmail) (?:for|untuk|di) [\w ]{2,20}(?:\s?[<(\[]?https?://\S{1,200})?\W{0,4}"
    r"|\W{0,4}powered by telkomsel blackberry\W{0,4}",
    re.IGNORECASE,
)
_LIST_FOOTER = re.compile(r"[^\n]{0,200}(?:mailing list|/listinfo/)", re.IGNORECASE)


def cut_quotes(text: str) -> str:
    """The lines that the sender wrote: without quoted mails, their attribution lines, and signatures.

    Text between and below quotes that are marked with ">" stays; below an unmarked quote nothing can be told apart, so
    it is cut to its end. From a forwarded message on everything stays. Lines are never changed; one blank line stands
    where something was cut. Cutting twice gives the same as once. When nothing would be left, the text comes back as it
    was: some people only forward, or write into an unmarked quote.
    """
    lines = text.split("\n")
    states = [_KEPT] * len(lines)
    end = _mark_quotes(lines, states)
    _mark_signatures(lines, states, end)
    result = _joined(lines, states)
    return result if result.strip() else text


def _mark_quotes(lines: list[str], states: list[int]) -> int:
    """Mark quotes; give the line of the first forwarded message, behind which nothing may be marked."""
    at, least = 0, 2
    while at < len(lines) and not _short(_FORWARD, lines[at]):
        length = _marker_length(lines, at)
        stop = at + length
        if length and _is_quoted(_first_text(lines, stop)):
            least = 1
        elif length:
            stop = len(lines)
        states[at:stop] = [_QUOTE] * (stop - at)
        at = max(stop, at + 1)
    _mark_quoted_lines(lines, states, at, least)
    return at


def _mark_quoted_lines(lines: list[str], states: list[int], end: int, least: int) -> None:
    """Without an attribution a single ">" line is no quote: "> 3 hari belum diangkut"."""
    at = 0
    while at < end:
        stop = at
        while stop < end and _is_quoted(lines[stop]):
            stop += 1
        if stop - at >= least:
            states[at:stop] = [_QUOTE] * (stop - at)
        at = max(stop, at + 1)


def _is_quoted(line: str) -> bool:
    return _QUOTED.match(line) is not None


def _first_text(lines: list[str], start: int) -> str:
    return next((line for line in (lines[at] for at in range(start, len(lines))) if line.strip()), "")


def _short(pattern: re.Pattern[str], line: str) -> bool:
    return len(line) <= _LONGEST_MARKER_LINE and pattern.fullmatch(line) is not None


def _marker_length(lines: list[str], at: int) -> int:
    """How many lines from here introduce a quote; 0 when this line begins no introduction."""
    if not lines[at].strip() or _is_quoted(lines[at]) or len(lines[at]) > _LONGEST_MARKER_LINE:
        return 0
    if _short(_ORIGINAL, lines[at]):
        return 1
    if _short(_RULE, lines[at]):
        below = _header_length(lines, at + 1, ruled=True)
        return below + 1 if below else 0
    return _header_length(lines, at, ruled=False) or _attribution_length(lines, at)


def _paragraph(lines: list[str], start: int, longest: int) -> Iterator[str]:
    for line in lines[start : start + longest]:
        if not line.strip() or _is_quoted(line) or len(line) > _LONGEST_MARKER_LINE:
            return
        yield line


def _header_length(lines: list[str], start: int, *, ruled: bool) -> int:
    """The copied header of a mail: author, date, and recipient or subject, with something no letterhead has.

    Letters begin "Dari: … Tanggal: … Perihal: …" too. Only clients write an address or the time of day there, or rule a
    line above.
    """
    if not (start < len(lines) and _FIELD.match(lines[start])):  # most lines: a long text must not cost a paragraph for each
        return 0
    paragraph = list(_paragraph(lines, start, _LONGEST_HEADER_LINES))
    found: dict[str, str] = {}
    for line in paragraph:
        named = _FIELD.match(line)
        if named and named.lastgroup:
            found.setdefault(named.lastgroup, line)
    machine_made = ruled or "@" in found.get("author", "") or _TIME_OF_DAY.search(found.get("date", ""))
    complete = {"author", "date"} <= found.keys() and len(found) > 2
    return len(paragraph) if machine_made and complete else 0


def _attribution_length(lines: list[str], start: int) -> int:
    """Like "On …, Budi <budi@…> wrote:", on up to four lines; it names a day in digits, and an address or a comma."""
    first = lines[start]
    if _short(_DATED_ADDRESS, first) or ("@" in first and _closes(first)):
        return 1
    if not _OPENER.match(first):
        return 0
    paragraph = list(_paragraph(lines, start, _LONGEST_ATTRIBUTION_LINES))
    for length, line in enumerate(paragraph, start=1):
        if length > 1 and _OPENER.match(line):
            return 0
        if _closes(line):
            whole = " ".join(paragraph[:length])
            return length if re.search(r"\d", whole) and re.search("[@,]", whole) else 0
    return 0


def _closes(line: str) -> bool:
    return _CLOSER.search(line) is not None


def _mark_signatures(lines: list[str], states: list[int], end: int) -> None:
    """Upwards, so that each signature is measured without the ones below it."""
    stop, texts = end, _Texts()
    for at in reversed(range(end)):
        if states[at] == _QUOTE:
            stop, texts = at, _Texts()
        elif _short(_SENT_FROM, lines[at]) or _short(_ADVERTISED, lines[at]):
            states[at] = _SIGNATURE
        elif _begins_signature(lines, at, texts):
            states[at:stop] = [_SIGNATURE] * (stop - at)
            stop, texts = at, _Texts()
        elif lines[at].strip():
            texts.add(at)


@dataclass(slots=True)
class _Texts:
    """The lines with text between a line and the next quote below it."""

    count: int = 0
    first: int = 0
    last: int = 0

    def add(self, at: int) -> None:
        self.last = self.last if self.count else at
        self.first = at
        self.count += 1

    def is_small(self) -> bool:
        """One paragraph of a few lines: people also type "--" between two parts of their text."""
        together = not self.count or self.last - self.first + 1 == self.count
        return together and self.count <= _LONGEST_BARE_SIGNATURE


def _begins_signature(lines: list[str], at: int, below: _Texts) -> bool:
    """RFC 3676 section 4.3 has a blank behind the dashes, which some systems on the way remove."""
    if lines[at] == "-- ":
        return True
    if lines[at].rstrip() == "--" or _is_list_footer(lines, at):
        return below.is_small()
    return below.count == 0 and _short(_RULE, lines[at])


def _is_list_footer(lines: list[str], at: int) -> bool:
    below = lines[at + 1] if at + 1 < len(lines) else ""
    return _short(_UNDERSCORES, lines[at]) and _LIST_FOOTER.match(below) is not None


def _joined(lines: list[str], states: list[int]) -> str:
    """Kept lines, without blank ones at both ends. A blank line in each gap keeps what was apart from becoming one."""
    kept: list[str] = []
    gap = False
    for line, state in zip(lines, states, strict=True):
        if state == _KEPT:
            if gap and kept and kept[-1].strip() and line.strip():
                kept.append("")
            kept.append(line)
        gap = state != _KEPT
    while kept and not kept[-1].strip():
        kept.pop()
    start = next((at for at, line in enumerate(kept) if line.strip()), 0)
    return "\n".join(kept[start:])
