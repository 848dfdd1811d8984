"""The wiring of everything into one process."""

import kanal_ingest_email.service
import kanal_ingest_sms.service
import kanal_normalizer.service
import kanal_router.service
import kanal_tracker.service

from kanal.service import Platform, Service, merged
from kanal_all_in_one.settings import AllSettings


def build(settings: AllSettings, platform: Platform) -> Service:
    """Every service, merged. Stages take turns in this order: a receipt is decided and on its way before the rest of the work."""
    services = [
        kanal_normalizer.service.build(platform),
        kanal_ingest_email.service.build(settings, platform),
        kanal_ingest_sms.service.build(settings, platform),
        kanal_router.service.build(platform),
        kanal_tracker.service.build(settings, platform),
    ]
    return merged("kanal", services)
