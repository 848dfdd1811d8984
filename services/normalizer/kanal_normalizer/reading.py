"""A message as the rules see it: cleaned and masked text, the numbers it names, what it seems to want. Pure."""

import hashlib
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Literal, NamedTuple

from kanal.events import MessageReceived
from kanal.masking import mask
from kanal.numbers import LENGTH, find_numbers, without_numbers
from kanal.pack import Pack
from kanal_normalizer.cleaning import clean_text, words_of

_ASK = re.compile(
    r"^\W*(?:(?:cek|check) status|cek|check|status|info)\b[\s:.#\-]*(?:(?:laporan|lap|no|nomor|report)\b[\s:.#]*)*", re.IGNORECASE
)
_NOT_FIXED = re.compile(
    r"^\W*(?:(?:balas|reply)\W+)?(?:belum|belom|blm|(?:masih|kok) (?:belum|belom|blm)|(?:still |sorry,? )?not (?:yet )?fixed|notfixed)\b",
    re.IGNORECASE,
)
STILL_BROKEN = frozenset("masih beres selesai diperbaiki dikerjakan tuntas ditangani fixed still".split())
"""With one of these a longer text that begins with BELUM is about the report before; "Belum ada lampu di gang kami" is not."""

_STILL = frozenset("masih belum belom blm still".split())
MAX_STILL_WORDS = 8

_BESIDES_NOT_FIXED = STILL_BROKEN | frozenset("pak bu juga kok ya sampai sekarang yet please".split())
_NEW = re.compile(r"^\W*(?:lapor|laporan baru|new report)\b[\s:,.\-]*", re.IGNORECASE)
_TYPED_NUMBER = re.compile(r"[A-Z0-9][A-Z0-9\- ]{0,24}", re.IGNORECASE)
_WORD = re.compile(r"[a-z]{4,}\d*$", re.IGNORECASE)
"""Also with a "2" behind it, as people write "jalan2" for "jalan-jalan"."""

_MANY_DIGITS = re.compile(r"\d{7}")
_REPLY_MARKS = re.compile(r"^(?:\s*(?:re|fw|fwd|bls|balas|trs)\s*:)+", re.IGNORECASE)
_QUESTION_STEMS = frozenset(
    """bagaimana gimana gmn kabar kabarnya kelanjutan kelanjutannya progres progress perkembangan perkembangannya update
    status statusnya mana kapan news when how""".split()
)
_REPORT_WORDS = frozenset("laporan laporanku laporannya report".split())
_QUESTION_STEMS_BY_A_NUMBER = _QUESTION_STEMS | {"cek", "check"}
"""Without a number "sudah saya cek" may be the answer to an officer's question."""

_SHORT_QUESTION_WORDS = _QUESTION_STEMS_BY_A_NUMBER | frozenset(
    """sudah sdh udah sampai sampe apa apakah laporan saya sy ini itu nya tindak lanjut lanjutnya ya kah dong mohon info infonya
    tolong min pak bu selamat pagi siang sore malam
    no nomor nomer number could can tell me does doing are kok
    terima kasih makasih trims thanks thank you what is the of my report any about it far will be done please hi hello dear""".split()
)
_BESIDES_A_COMMAND = frozenset("saya sy aku my dong ya pak bu min mohon tolong please laporan laporanku report nomor no".split())
"""What "CEK" may say besides and still be "CEK" alone."""

_SAID = frozenset("sudah sdh udah udh".split())
_QUESTION_WORDS = frozenset("bagaimana gimana gmn mana kapan apa apakah when how what".split())
_EMPTY_SUBJECTS = _QUESTION_STEMS_BY_A_NUMBER | frozenset(
    "laporan laporanku report tanya bertanya pertanyaan info informasi belum lapor aduan pengaduan keluhan warga".split()
)
"""Of these alone a subject says nothing of its own."""

_THANKS = frozenset("terima trima kasih makasih makasi trims tks thx thanks thank".split())
_GREETINGS = frozenset("halo hallo hai hi hello selamat good assalamualaikum permisi lapor stop test tes".split())
_TO_WHOM = frozenset("pagi siang sore malam morning pak bu ibu bapak min admin kak mas mbak".split())
_COURTESY = _THANKS | _GREETINGS | _TO_WHOM | frozenset("you banyak very much".split())
"""Not "ya", "ok" or "siap": they may answer an officer's question. So may "malam" or "banyak" alone."""

_MAX_QUESTION_WORDS = 12


class Reading(NamedTuple):
    """What one message says, before any rule."""

    message: MessageReceived
    text: str
    """Cleaned, not masked: for rules only, never stored."""
    masked: str
    words: list[str]
    mentions: tuple[str, ...]
    """Valid tracking numbers in subject and text."""
    old_numbers: tuple[str, ...]
    """Numbers of the city's older system."""
    text_hash: str
    asks: bool
    """CEK/STATUS in front, a bare number, or a short text that only asks."""
    asked_for: str
    """What was meant as a number and is none: typed behind CEK, or like ours but for a symbol. Masked where it may be personal."""
    says_not_fixed: bool
    still_broken: bool
    """And behind BELUM stands nothing, or that something is still so."""
    still_so: bool
    """Few words, one of them says that something goes on."""
    has_files: bool
    """Something was sent with it; not only its own original, which is kept sealed."""
    courtesy: Literal["", "thanks", "greeting", "new"]
    """When it says nothing else; `new` = LAPOR alone."""
    wants_new: bool
    """Begins with LAPOR: a report of its own, whatever came before."""


def read(message: MessageReceived, pack: Pack) -> Reading:
    """The reading of a message. A mail without body is its subject; a subject that says something of its own goes first."""
    text = clean_text(_with_subject(message, pack.prefix))
    words = words_of(text)
    mentions = find_numbers(text, pack.prefix)
    old_numbers = tuple(dict.fromkeys(match.group().upper() for match in pack.old_number.finditer(text)))
    rest = without_numbers(text, pack.prefix) if mentions else text
    rest = pack.old_number.sub(" ", rest) if old_numbers else rest
    not_fixed = _NOT_FIXED.match(rest)
    asks, asked_for = _question(message, rest, bool(mentions or old_numbers), pack.prefix)
    return Reading(
        message=message,
        text=text,
        masked=mask(text),
        words=words,
        mentions=tuple(mention.number for mention in mentions),
        old_numbers=old_numbers,
        text_hash=_hash(words, message),
        asks=asks,
        asked_for=asked_for.upper() if _is_like_ours(asked_for, pack.prefix) else mask(asked_for.upper()),
        says_not_fixed=bool(not_fixed) and (len(words) <= 40 or bool(mentions)),
        still_broken=bool(not_fixed) and _says_still_broken(words_of(_NOT_FIXED.sub("", rest, count=1))),
        still_so=len(words) <= MAX_STILL_WORDS and not _STILL.isdisjoint(words),
        has_files=has_files(message),
        courtesy=_courtesy(words, words_of(_NEW.sub("", text)) if _NEW.match(text) else None) if not has_files(message) else "",
        wants_new=bool(_NEW.match(text)) or message.always_new,
    )


def has_files(message: MessageReceived) -> bool:
    """Whether a citizen sent photos or other files with it."""
    return any(not attachment.sealed for attachment in message.attachments)


def _says_still_broken(behind: Sequence[str]) -> bool:
    return not behind or not STILL_BROKEN.isdisjoint(behind)


def _courtesy(words: Sequence[str], behind_new: Sequence[str] | None) -> Literal["", "thanks", "greeting", "new"]:
    """`behind_new` = what stands behind LAPOR; None without it."""
    if behind_new is not None and _BESIDES_A_COMMAND.issuperset(behind_new):
        return "new"
    if len(words) > 8 or not _COURTESY.issuperset(words):
        return ""
    if not _THANKS.isdisjoint(words):
        return "thanks"
    greets = not _GREETINGS.isdisjoint(words) and (_GREETINGS | _TO_WHOM).issuperset(words)
    return "greeting" if greets else ""


def _question(message: MessageReceived, rest: str, named: bool, prefix: str) -> tuple[bool, str]:
    """Whether the message only asks what became of a report, and what was meant as a number and is none.

    `rest` is the text without the numbers that it names; `named` = there are some.
    """
    typed = "" if named else _meant_as_number(rest, prefix, anything=not message.reply_to)
    rest = rest.replace(typed, " ", 1) if typed else rest
    command = bool(_ASK.match(rest))
    said = words_of(_ASK.sub("", rest, count=1))
    if (named or typed or (command and not has_files(message))) and not (set(said) - _BESIDES_A_COMMAND if command else said):
        return True, typed
    if named or typed:
        besides = words_of(_NOT_FIXED.sub("", rest, count=1))
        only_not_fixed = bool(typed and _NOT_FIXED.match(rest)) and not message.reply_to and _BESIDES_NOT_FIXED.issuperset(besides)
        return only_not_fixed or _only_asks(rest, _QUESTION_STEMS_BY_A_NUMBER), typed
    about_own = bool(message.reply_to) or bool(_REPORT_WORDS & set(said))
    return about_own and _only_asks(rest, _QUESTION_STEMS), ""


def _meant_as_number(text: str, prefix: str, *, anything: bool) -> str:
    """Behind CEK `anything` with digits; elsewhere what looks like a number of ours. Empty when there is nothing of the kind."""
    behind = _ASK.sub("", text, count=1).strip(" .?!,#:-\n")
    if anything and _ASK.match(text) and _may_be_a_number(behind, prefix):
        return behind
    like_ours = _like_ours(prefix).search(text)
    return like_ours.group() if like_ours else ""


@cache
def _like_ours(prefix: str) -> re.Pattern[str]:
    """Three groups behind the prefix, or all in one with a digit; a symbol may be missing or too many."""
    gap, group = r" ?[-–] ?", "[0-9A-Z]{3,5}"
    in_groups = rf"{prefix}(?:{gap})?{group}{gap}{group}{gap}{group}"
    in_one = rf"{prefix}(?=[A-Z]*\d)[0-9A-Z]{{{LENGTH - 1},{LENGTH + 1}}}"
    return re.compile(rf"(?<![0-9A-Z])(?:{in_groups}|{in_one})(?![0-9A-Z])", re.IGNORECASE)


def _hash(words: Sequence[str], message: MessageReceived) -> str:
    """Of the words and of what was sent with them: another photo says something else. Sealed originals differ each time."""
    files = sorted(attachment.sha256 for attachment in message.attachments if not attachment.sealed)
    return hashlib.sha256(" ".join([*words, *files]).encode()).hexdigest()[:32]


def _with_subject(message: MessageReceived, prefix: str) -> str:
    if not message.subject:
        return message.text
    subject = _REPLY_MARKS.sub("", message.subject).strip()
    if not message.text.strip():
        return subject
    if message.reply_to or not subject or _same_words(subject, message.text):
        return message.text
    is_command = _ASK.match(message.text) or _NOT_FIXED.match(message.text)
    is_old = _REPLY_MARKS.match(message.subject) or _EMPTY_SUBJECTS.issuperset(words_of(subject))
    if is_command and (is_old or find_numbers(message.text, prefix) or _like_ours(prefix).search(message.text)):
        return message.text
    return f"{subject}\n{message.text}"


def _same_words(subject: str, text: str) -> bool:
    return " ".join(words_of(text)).startswith(" ".join(words_of(subject)))


def _only_asks(text: str, stems: AbstractSet[str]) -> bool:
    words = words_of(text)
    known = all(word in _SHORT_QUESTION_WORDS for word in words)
    if not _SAID.isdisjoint(words) and _QUESTION_WORDS.isdisjoint(words):  # "sudah, tolong update" tells something
        return False
    return 0 < len(words) <= _MAX_QUESTION_WORDS and known and any(word in stems for word in words)


def _may_be_a_number(text: str, prefix: str) -> bool:
    """As "0812 0000 0001" may, but not "kebakaran RT 05": a word is none."""
    no_words = all((any(map(str.isdigit, group)) and not _WORD.match(group)) or group.upper() == prefix for group in text.split())
    return len(words_of(text)) <= 4 and bool(_TYPED_NUMBER.fullmatch(text)) and (no_words or _is_like_ours(text, prefix))


def _is_like_ours(typed: str, prefix: str) -> bool:
    """With our prefix and about as long as a number of ours, and no telephone or identity number: no long run of digits."""
    compact = re.sub(r"[\s\-–]", "", typed.upper())
    as_long = abs(len(compact) - len(prefix) - LENGTH) <= 1
    return compact.startswith(prefix) and as_long and not _MANY_DIGITS.search(compact)
