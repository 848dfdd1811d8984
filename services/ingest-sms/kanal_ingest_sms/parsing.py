"""A gateway's webhook body → its fields, each checked. Pure."""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import phonenumbers

from kanal.errors import InvalidInput
from kanal.events import MAX_PARTS, Part

REGION = "ID"
MAX_TEXT_CHARACTERS = 10_000
MAX_SHORT_CODE = 6
"""Digits of a short code of Indonesia's networks; `phonenumbers` would make a local number of it."""


class Inbound(NamedTuple):
    """One SMS, or one part of a longer one."""

    vendor_id: str
    sender: str
    """E.164, or the name that an application sent under."""
    is_phone: bool
    to: str
    text: str
    part: Part | None


class DeliveryReport(NamedTuple):
    """What the network says of an SMS that we sent."""

    reply_id: str
    delivered: bool
    final: bool


def parse_inbound(raw: bytes, content_type: str) -> Inbound:
    """Fields `id`, `from`, `to`, `text`, and for a part `part_reference`, `part_number`, `part_total`; JSON or form.

    *Raises:* InvalidInput that names the field.
    """
    fields = _fields(raw, content_type)
    text = _string(fields, "text", MAX_TEXT_CHARACTERS)
    sender, is_phone = _sender(_string(fields, "from", 40))
    return Inbound(_string(fields, "id", 128), sender, is_phone, _string(fields, "to", 40), text, _part(fields))


def parse_delivery(raw: bytes, content_type: str) -> DeliveryReport:
    """Fields `id` (ours) and `status`. *Raises:* InvalidInput that names the field."""
    fields = _fields(raw, content_type)
    status = _string(fields, "status", 40).lower()
    delivered = status in ("delivered", "delivrd")
    failed = status in ("failed", "undeliverable", "undeliv", "rejected", "rejectd", "expired")
    return DeliveryReport(_string(fields, "id", 128).partition("-")[0], delivered, delivered or failed)


def _fields(raw: bytes, content_type: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("body", "is not UTF-8") from None
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        return _form(text)
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput("body", "is neither JSON nor a form (see Content-Type)") from None
    if not isinstance(fields, dict):
        raise InvalidInput("body", "must be a JSON object")
    return fields


def _form(text: str) -> dict[str, Any]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=50))
    except (ValueError, UnicodeDecodeError):
        raise InvalidInput("body", "is not a readable form") from None


def _string(fields: dict[str, Any], name: str, max_characters: int) -> str:
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInput(name, "is missing" if value is None else "must be text")
    if not value.strip():
        raise InvalidInput(name, "is empty")
    if "\x00" in value:
        raise InvalidInput(name, "holds a NUL character")
    if len(value) > max_characters:
        raise InvalidInput(name, f"is longer than {max_characters} characters")
    return value if name == "text" else value.strip()


def _sender(typed: str) -> tuple[str, bool]:
    """E.164 whatever the gateway writes (0812…, 62812…, +62812…). Names and short codes are kept: nobody can answer them."""
    if any(character.isalpha() for character in typed) or len(typed) <= MAX_SHORT_CODE:
        return typed, False
    candidate = f"+{typed}" if typed.startswith("62") and typed.isdigit() else typed
    try:
        number = phonenumbers.parse(candidate, REGION)
    except phonenumbers.NumberParseException:
        return typed, False
    if not phonenumbers.is_possible_number(number):
        return typed, False
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), True


def _part(fields: dict[str, Any]) -> Part | None:
    if fields.get("part_total") in (None, "", 0, 1, "0", "1"):
        return None
    total, number = _whole(fields, "part_total"), _whole(fields, "part_number")
    if number > total:
        raise InvalidInput("part_number", "is larger than part_total")
    return Part(_string(fields, "part_reference", 40), number, total)


def _whole(fields: dict[str, Any], name: str) -> int:
    text = _string(fields, name, 5)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MAX_PARTS:
        raise InvalidInput(name, f"must be a whole number from 1 to {MAX_PARTS}")
    return int(text)
