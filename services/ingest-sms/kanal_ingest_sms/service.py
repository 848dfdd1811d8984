"""The wiring of the SMS adapter."""

from kanal import replies
from kanal.errors import SetupError
from kanal.keys import secret_in
from kanal.replies import ReplyHandler
from kanal.sending import Sender
from kanal.service import Platform, Service
from kanal.settings import Settings
from kanal_ingest_sms.receive import CHANNEL, SmsWebhooks
from kanal_ingest_sms.send import Gateway, SmsDeliver
from kanal_ingest_sms.settings import gateway_settings, secret_file


def build(settings: Settings, platform: Platform) -> Service:
    """Webhooks, the reply stage and the sender. *Raises:* SetupError for a gateway without a secret."""
    gateways = {name: _gateway(name, settings) for name in platform.pack.sms_gateways}
    webhooks = SmsWebhooks(platform, {name: gateway.secret for name, gateway in gateways.items()})
    deliver = SmsDeliver(platform.pack, gateways, settings.page_url, settings.data / "outbox")
    sender = Sender(CHANNEL, deliver, platform.database, platform.journal, platform.keys)
    return Service("ingest-sms", [ReplyHandler(CHANNEL, sender.queued.set)], [webhooks.router], senders=[sender], tables=[replies.metadata])


def _gateway(name: str, settings: Settings) -> Gateway:
    own = gateway_settings(name)
    if own.secret:
        return Gateway(own.send_url, own.secret)
    if not settings.embedded:
        variable = f"KANAL_SMS_{name.upper().replace('-', '_')}_SECRET"
        raise SetupError(f"{variable} (or {variable}_FILE) is needed")
    return Gateway(own.send_url, secret_in(secret_file(settings.keys_directory, name)))
