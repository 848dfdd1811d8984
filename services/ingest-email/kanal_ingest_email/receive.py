"""The SMTP receiver: 250 only after the journal has the mail, 451 when it cannot, one recipient per transaction.

A mail server stands in front and keeps what gets 451; nothing is spooled here.
"""

import asyncio
import hashlib
import time
from datetime import UTC, datetime

from aiosmtpd.smtp import SMTP, Envelope, Session

from kanal import metrics, topics
from kanal.contacts import Contact, conversation_key, seal, seal_bytes, sender_key
from kanal.errors import InvalidInput, KanalError, RecordTooLarge
from kanal.events import Attachment, ContactSealed, MessageReceived
from kanal.faults import fail_point
from kanal.ids import derive_id
from kanal.journal import Record
from kanal.logs import logger
from kanal.numbers import number_for
from kanal.records import message_records, record_of, rejected_input
from kanal.sending import settle_later
from kanal.service import Platform
from kanal_ingest_email.addresses import is_ours, number_answered, reply_id_of
from kanal_ingest_email.mime import Mail, is_forward, parse_mail
from kanal_ingest_email.quotes import cut_quotes

CHANNEL = "email"
SERVICE = "ingest-email"
MAX_MAIL_BYTES = 25 * 1024 * 1024
JOURNAL_SECONDS = 20.0
"""A mail server waits ten minutes for the answer to DATA (RFC 5321, 4.5.3.2.6); a webhook would not."""

REFUSED_BYTES = 64 * 1024
"""Of a mail that cannot be read so much is kept, sealed, as a dead letter."""

PARSERS = 2
"""Mails parsed at once: each may hold 25 MB."""


class MailReceiver:
    """Handler of aiosmtpd: its methods answer SMTP commands."""

    def __init__(self, platform: Platform, own_address: str) -> None:
        self._platform = platform
        self._own = own_address
        self._log = logger(SERVICE)
        self._parsing = asyncio.Semaphore(PARSERS)

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if not is_ours(address, self._own):
            return "550 5.1.1 no such mailbox here"
        if envelope.rcpt_tos:  # one answer for several recipients could not say which of them was kept
            return "452 4.5.3 one recipient per transaction"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        started = time.perf_counter()
        try:
            answer = await self._receive(bytes(envelope.original_content or b""), envelope.mail_from or "", envelope.rcpt_tos[0])
        except InvalidInput as error:
            answer = f"554 5.6.0 {error}"
        except RecordTooLarge:
            answer = "552 5.3.4 the mail's text or headers are too large"
        except KanalError as error:
            self._log.error("mail_not_kept", error=error, reason=error.reason)
            answer = "451 4.3.0 cannot be kept just now, try again"
        except Exception as error:  # a bug must not lose the mail: the mail server tries again
            self._log.error("mail_not_kept", error=error)
            answer = "451 4.3.0 something is wrong on our side, try again"
        metrics.INTAKE.labels(CHANNEL, {"2": "accepted", "5": "refused"}.get(answer[0], "later")).inc()
        metrics.INTAKE_SECONDS.labels(CHANNEL).observe(time.perf_counter() - started)
        asyncio.get_running_loop().call_later(0.05, fail_point, f"{SERVICE}.after-acknowledgement")
        return answer

    async def handle_exception(self, error: Exception) -> str:
        """Whatever goes wrong outside the commands above: the mail server tries again, and is told nothing of our insides."""
        self._log.error("smtp_failed", error=error)
        return "451 4.3.0 something is wrong on our side, try again"

    async def _receive(self, raw: bytes, envelope_sender: str, recipient: str) -> str:
        now = datetime.now(UTC)
        async with self._parsing:
            try:
                mail = await asyncio.to_thread(parse_mail, raw, self._own)
                sender = _sender(mail, envelope_sender)
                message, records = await asyncio.to_thread(self._records, mail, raw, sender, recipient, now)
            except InvalidInput as error:
                await self._keep_refused(raw, error, now)
                raise
        await self._platform.intake.take(records, spool=False, patience_seconds=JOURNAL_SECONDS)
        fail_point(f"{SERVICE}.before-acknowledgement")
        if mail.bounce_of:
            await self._note_bounce(reply_id_of(mail.bounce_of))
        return f"250 2.0.0 kept as {message.message_id}"

    def _records(self, mail: Mail, raw: bytes, sender: str, recipient: str, now: datetime) -> tuple[MessageReceived, list[Record]]:
        keys, pack = self._platform.keys, self._platform.pack
        message_id = mail_id(mail, sender)
        thread = mail.references[0] if mail.references else mail.message_id or message_id  # without an id each is a thread of its own
        conversation = conversation_key(keys, CHANNEL, self._own, sender, thread)
        message = MessageReceived(
            message_id=message_id,
            channel=CHANNEL,
            account=self._own,
            sender_key=sender_key(keys, "mail", sender),
            conversation=conversation,
            received_at=now,
            text=mail.text if is_forward(mail.subject) else cut_quotes(mail.text),
            number=number_for(message_id, keys.number, pack.prefix),
            subject=mail.subject,
            language=mail.language,
            visibility=pack.channels[CHANNEL].visibility,
            reply_to=number_answered(recipient, mail.references, keys, pack.prefix),
            automatic=mail.automatic,
            attachments=self._keep_attachments(mail, raw, message_id),
        )
        records = [message_records(message, SERVICE)]
        if not mail.automatic:
            contact = Contact(sender, self._own, mail.message_id, mail.references, mail.subject)
            sealed = ContactSealed(conversation=conversation, sealed=seal(keys, contact))
            contact_id = derive_id(SERVICE, message_id, "contact")
            records.insert(0, record_of(topics.contacts(CHANNEL), conversation, sealed, event_id=contact_id, source=SERVICE, at=now))
        return message, records

    def _keep_attachments(self, mail: Mail, raw: bytes, message_id: str) -> tuple[Attachment, ...]:
        """On disk before the event that names them; the whole mail sealed, since its headers are addresses."""
        store = self._platform.attachments
        kept = [store.keep(message_id, "raw", seal_bytes(self._platform.keys, raw), "message/rfc822", sealed=True)]
        for index, attachment in enumerate(mail.attachments, start=1):
            kept.append(store.keep(message_id, str(index), attachment.content, attachment.media_type))
        return tuple(kept)

    async def _keep_refused(self, raw: bytes, error: InvalidInput, now: datetime) -> None:
        sealed = seal_bytes(self._platform.keys, raw[:REFUSED_BYTES])
        input_id = derive_id(CHANNEL, raw[:REFUSED_BYTES].decode("latin-1"))
        record = rejected_input(SERVICE, sealed, error.reason, str(error), now, input_id)
        await self._platform.intake.take([record], spool=False, patience_seconds=JOURNAL_SECONDS)

    async def _note_bounce(self, reply_id: str) -> None:
        """Our answer could not be delivered: say so, the tracker's readers must not believe that the citizen knows."""
        settled = await asyncio.to_thread(settle_later, self._platform.database, CHANNEL, reply_id, "undeliverable", "bounced")
        if settled is not None:
            await self._platform.intake.take([settled], spool=False, patience_seconds=JOURNAL_SECONDS)


def _sender(mail: Mail, envelope_sender: str) -> str:
    """Who wrote: From, else the envelope. *Raises:* InvalidInput when nobody did; a bounce has no sender and needs none."""
    sender = mail.sender or (envelope_sender if envelope_sender.isprintable() else "")  # not UTF-8, it could not be written down
    if not sender and not mail.automatic:
        raise InvalidInput("from", "the mail names no sender")
    return sender


def mail_id(mail: Mail, sender: str) -> str:
    """The message id of a mail. The account is not in it: one mail to two of our addresses is one message.

    Message-IDs alone are reused by broken clients and lying senders, so sender, date, subject, text and files are in it too.
    """
    sent_at = mail.sent_at.isoformat() if mail.sent_at else ""
    files = [hashlib.sha256(attachment.content).hexdigest() for attachment in mail.attachments]
    return derive_id(CHANNEL, mail.message_id, sender.casefold(), sent_at, mail.subject, mail.text, *files)
