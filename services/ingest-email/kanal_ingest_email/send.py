"""Answers by mail: rendered, threaded, marked as automatic, handed to the relay or kept as files."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from pathlib import Path

from kanal.keys import Keys
from kanal.outgoing import keep_file
from kanal.pack import Pack
from kanal.replies import render
from kanal.sending import DueReply
from kanal_ingest_email.addresses import own_message_id, reply_address
from kanal_ingest_email.relay import Relay

MAX_REFERENCES_CHARACTERS = 800
MAIL_POLICY = SMTP_POLICY.clone(max_line_length=998)
"""The longest line of RFC 5322, 2.1.1. At 78 the library would encode long Message-IDs, which no program takes for ids then."""


class MailDeliver:
    """See `kanal.sending.Deliver`."""

    def __init__(self, pack: Pack, keys: Keys, own_address: str, relay: Relay | None, page_url: str, outbox: Path) -> None:
        self._pack = pack
        self._keys = keys
        self._own = own_address
        self._relay = relay
        self._page_url = page_url
        self._outbox = outbox

    def deliver(self, reply: DueReply) -> None:
        mail = self._mail(reply)
        if self._relay is None:
            keep_file(self._outbox, f"{reply.reply_id}.eml", mail.as_bytes())
        else:
            self._relay.send(mail, self._own, reply.contact.address)

    def _mail(self, reply: DueReply) -> EmailMessage:
        """Threading by RFC 5322, 3.6.4; signs of an automatic answer by RFC 3834, so that no machine answers us."""
        contact = reply.contact
        rendered = render(self._pack, self._pack.channels["email"], reply.kind, reply.values, reply.language, self._page_url)
        mail = EmailMessage(policy=MAIL_POLICY)
        mail["From"] = f'"Kanal {self._pack.name}" <{self._own}>'
        mail["To"] = contact.address
        mail["Reply-To"] = reply_address(self._own, reply.number, self._keys)
        mail["Subject"] = _answering(contact.subject) if contact.subject else rendered.subject
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = own_message_id(self._own, reply.reply_id, reply.number, self._keys)
        if contact.message_id:
            mail["In-Reply-To"] = f"<{contact.message_id}>"
            mail["References"] = _references([*contact.references, contact.message_id])
        mail["Auto-Submitted"] = "auto-replied"
        mail["X-Auto-Response-Suppress"] = "All"
        mail["X-Loop"] = "kanal"
        mail.set_content(rendered.body + "\n")
        return mail


def _references(thread: Sequence[str]) -> str:
    """The first and as many of the last as fit on a line: what programs need to keep a thread together (RFC 5322, 3.6.4)."""
    ids = [f"<{each}>" for each in dict.fromkeys(thread)]
    while len(ids) > 2 and len(" ".join(ids)) > MAX_REFERENCES_CHARACTERS:
        del ids[1]
    return " ".join(ids)


def _answering(subject: str) -> str:
    return subject if subject.casefold().startswith(("re:", "bls:", "balas:")) else f"Re: {subject}"
