"""The wiring of the e-mail adapter."""

from kanal import replies
from kanal.replies import ReplyHandler
from kanal.sending import Sender
from kanal.service import Platform, Service
from kanal_ingest_email.listen import SmtpListener, receiver_tls
from kanal_ingest_email.receive import CHANNEL, MailReceiver
from kanal_ingest_email.relay import Relay, relay_tls
from kanal_ingest_email.send import MailDeliver
from kanal_ingest_email.settings import EmailSettings


def build(settings: EmailSettings, platform: Platform) -> Service:
    """The SMTP receiver, the reply stage and the sender."""
    settings.refuse_halves()
    tls = receiver_tls(settings.smtp_certificate, settings.smtp_key) if settings.smtp_certificate and settings.smtp_key else None
    listener = SmtpListener(MailReceiver(platform, settings.email_address), settings, tls)
    outbox = settings.data / "outbox"
    deliver = MailDeliver(platform.pack, platform.keys, settings.email_address, _relay(settings), settings.page_url, outbox)
    sender = Sender(CHANNEL, deliver, platform.database, platform.journal, platform.keys)
    return Service(
        "ingest-email", [ReplyHandler(CHANNEL, sender.queued.set)], listeners=[listener], senders=[sender], tables=[replies.metadata]
    )


def _relay(settings: EmailSettings) -> Relay | None:
    if not settings.smtp_relay:
        return None
    tls = relay_tls(settings.smtp_relay_ca, verify=settings.smtp_relay_tls == "required") if settings.smtp_relay_tls != "off" else None
    login = (settings.smtp_relay_user, settings.smtp_relay_password) if settings.smtp_relay_user else None
    return Relay(settings.smtp_relay, tls, login)
