"""Why a mail must not be answered automatically; not what becomes of the mail, and no limit on answers per sender.

Source: RFC 3834 (automatic responses), RFC 2919 (List-Id), RFC 2369 (List-Unsubscribe), RFC 6522 (multipart/report).
"""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import parseaddr

OUR_LOOP_MARK = "kanal"
"""What our own mails carry in X-Loop."""

MAX_FIELD_CHARACTERS = 2_000
"""As much of one field as is looked at: parsing addresses and encoded words is not linear in the standard library."""

# "auto_reply" is not in RFC 2076, but old responders of hosting panels write it.
_MASS = frozenset({"bulk", "list", "junk"})
_AUTOREPLY_FIELDS = ("X-Autoreply", "X-Autorespond", "X-Auto-Reply", "X-Autoresponder", "X-Mail-Autoreply")
# Other values ("DR", "RN", "NRN") only refuse receipts, which we do not send ([MS-OXCMAIL] X-Auto-Response-Suppress).
_SUPPRESSED = frozenset({"all", "autoreply", "oof"})
_SYSTEM_SENDERS = re.compile(r"(?:mailer-daemon|postmaster|bounces?)(?:[-+=_.].*)?")
_NO_REPLY_SENDERS = re.compile(r"(?:.*[-_.])?(?:no|do-?not|jangan)[-_.]?(?:reply|balas|jawab)(?:[-+=_.].*)?")
# Anchored at both ends of the phrase: "Sedang di luar kantor kelurahan ada genangan" is a report, not an absence.
_OUT_OF_OFFICE = re.compile(
    r"(?:re:\s*)?(?:"
    r"(?:automatic|auto|automated)[- ]?(?:reply|response)|auto|out[- ]of[- ](?:the[- ])?office(?:[- ](?:auto)?reply)?"
    r"|(?:balasan|jawaban|respons?|pesan) otomatis|(?:sedang )?(?:di luar|tidak di|tidak berada di) kantor|sedang cuti"
    r")\s*(?:[:\u2013-]|re:|$)",
    re.IGNORECASE,
)


def automatic_reason(message: Message, own_address: str) -> str:
    """The first rule that forbids answering this mail automatically, as a bounded code; "" when none does.

    Codes: own-mail, bounce, report, auto-submitted, list, suppressed, no-reply-sender, out-of-office. `own_address` is
    matched without regard to case and to a tag behind "+".
    """
    sender = _sender(message)
    rules = (
        ("own-mail", _is_own(message, sender, own_address)),
        ("bounce", _is_bounce(message, sender)),
        ("report", message.get_content_type() == "multipart/report"),
        ("auto-submitted", _says_automatic(message)),
        ("list", _is_list(message)),
        ("suppressed", _refuses_answers(message)),
        ("no-reply-sender", _NO_REPLY_SENDERS.fullmatch(sender.partition("@")[0]) is not None),
        ("out-of-office", _OUT_OF_OFFICE.match(_subject(message)) is not None),
    )
    return next((reason for reason, holds in rules if holds), "")


def _sender(message: Message) -> str:
    try:
        return parseaddr(_field(message, "From"))[1].lower()
    except (ValueError, IndexError, RecursionError):  # comments nested without end
        return ""


def _is_own(message: Message, sender: str, own_address: str) -> bool:
    loops = {value.strip().lower() for value in _fields(message, "X-Loop")}
    return OUR_LOOP_MARK in loops or (bool(sender) and _untagged(sender) == _untagged(own_address.strip().lower()))


def _untagged(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return local.partition("+")[0] + at + domain


def _is_bounce(message: Message, sender: str) -> bool:
    if any(value.strip() == "<>" for value in _fields(message, "Return-Path")):  # RFC 3834 section 2
        return True
    if _SYSTEM_SENDERS.fullmatch(sender.partition("@")[0]):
        return True
    if message.get_content_type() != "multipart/report":
        return False
    content_type = _field(message, "Content-Type").lower()
    return "report-type" not in content_type or "delivery-status" in content_type


def _says_automatic(message: Message) -> bool:
    submitted = _keyword(message, "Auto-Submitted")
    if submitted not in ("", "no"):  # RFC 3834 section 5: any other keyword, known or not
        return True
    if _keyword(message, "Precedence") in ("auto_reply", "auto-reply"):
        return True
    return any(_keyword(message, name) not in ("", "no", "false", "0") for name in _AUTOREPLY_FIELDS)


def _is_list(message: Message) -> bool:
    listed = any(name in message for name in ("List-Id", "List-Unsubscribe"))
    return listed or _keyword(message, "Precedence") in _MASS


def _refuses_answers(message: Message) -> bool:
    values = re.split(r"[,;\s]+", _field(message, "X-Auto-Response-Suppress").lower())
    return not _SUPPRESSED.isdisjoint(values)


def _keyword(message: Message, name: str) -> str:
    """The value without comments and parameters, in lower case: `auto-replied; owner-email=…`, `bulk (news)`."""
    return re.split(r"[;(]", _field(message, name), maxsplit=1)[0].strip().lower()


def _subject(message: Message) -> str:
    """Encoded words are read as UTF-8 whatever charset they name: the phrases are ASCII, the names may be anything."""
    value = _field(message, "Subject")
    try:
        pieces = [piece for piece, _ in decode_header(value)]
    except HeaderParseError:
        return value.strip()
    return "".join(piece if isinstance(piece, str) else piece.decode("utf-8", "replace") for piece in pieces).strip()


def _field(message: Message, name: str) -> str:
    return next(iter(_fields(message, name)), "")


def _fields(message: Message, name: str) -> list[str]:
    return [str(value)[:MAX_FIELD_CHARACTERS] for value in message.get_all(name, [])]
