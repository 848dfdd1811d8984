"""The wiring of the e-mail adapter."""

from kanal import replies
from kanal.replies import ReplyHandler
from kanal.sending import Sender
from kanal.service import Platform, Service
from kanal_ingest_email.receive import CHANNEL, MailReceiver, SmtpListener
from kanal_ingest_email.send import MailDeliver
from kanal_ingest_email.settings import EmailSettings


def build(settings: EmailSettings, platform: Platform) -> Service:
    """The SMTP receiver, the reply stage and the sender."""
    listener = SmtpListener(MailReceiver(platform, settings.email_address), settings.smtp_host, settings.smtp_port)
    outbox = settings.data / "outbox"
    deliver = MailDeliver(platform.pack, platform.keys, settings.email_address, settings.smtp_relay, settings.page_url, outbox)
    sender = Sender(CHANNEL, deliver, platform.database, platform.journal, platform.keys)
    return Service("ingest-email", [ReplyHandler(CHANNEL)], listeners=[listener], senders=[sender], tables=[replies.metadata])
