"""Our own addresses and Message-IDs, and the proofs in them: how a reply to our mail finds its report. Pure."""

import re
from collections.abc import Iterable

from kanal.contacts import number_in_token, reply_token
from kanal.errors import InvalidInput
from kanal.keys import Keys

_OUR_ID = re.compile(r"^(?P<reply>[0-9a-f]{32})\.(?P<token>[A-Za-z0-9]{14}\.[0-9a-f]{10})@", re.IGNORECASE)
_UNNUMBERED_ID = re.compile(r"^(?P<reply>[0-9a-f]{32})@", re.IGNORECASE)


def is_ours(address: str, own: str) -> bool:
    """`address` is the mailbox served, or that with a tag behind a plus sign."""
    local, _, domain = address.rpartition("@")
    own_local, _, own_domain = own.rpartition("@")
    return domain.casefold() == own_domain.casefold() and local.partition("+")[0].casefold() == own_local.casefold()


def reply_address(own: str, number: str, keys: Keys) -> str:
    """`lapor+JK7F3Q9K2M4XPT.3a9f0c12de@…`: an answer to it belongs to `number`."""
    local, _, domain = own.rpartition("@")
    return f"{local}+{reply_token(keys, number)}@{domain}" if number else own


def own_message_id(own: str, reply_id: str, number: str, keys: Keys) -> str:
    """The Message-ID of a reply, with angle brackets; it names the report with a proof."""
    domain = own.rpartition("@")[2]
    return f"<{reply_id}.{reply_token(keys, number)}@{domain}>" if number else f"<{reply_id}@{domain}>"


def number_answered(recipient: str, references: Iterable[str], keys: Keys, prefix: str) -> str:
    """The report that a mail answers: by the tag of the address it came to, else by our newest id among its references.

    Only a token that this installation made counts; anything else is "".
    """
    tag = recipient.rpartition("@")[0].partition("+")[2]
    ids = [match.group("token") for reference in references if (match := _OUR_ID.match(reference))]
    for token in [tag, *reversed(ids)]:
        if token:
            try:
                return number_in_token(keys, token, prefix)
            except InvalidInput:
                continue
    return ""


def reply_id_of(message_id: str) -> str:
    """The reply that a Message-ID of ours belongs to; "" for other ids."""
    match = _OUR_ID.match(message_id) or _UNNUMBERED_ID.match(message_id)
    return match.group("reply").lower() if match else ""
