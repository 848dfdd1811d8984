"""Settings of `kanal up`: those of every service."""

import difflib
from collections.abc import Iterable

from kanal_ingest_email.settings import EmailSettings
from kanal_ingest_sms.settings import SmsGatewaySettings
from kanal_tracker.settings import TrackerSettings


class AllSettings(EmailSettings, TrackerSettings):
    """Every setting but those of the SMS gateways, which carry the gateway's name."""


def unknown_settings(names: Iterable[str], gateways: Iterable[str]) -> list[str]:
    """A sentence for each `KANAL_…` among these variables that nothing reads, with these SMS gateways: most likely it is mistyped."""
    of_gateways = [f"sms_{gateway.replace('-', '_')}_{field}" for gateway in gateways for field in SmsGatewaySettings.model_fields]
    known = {f"{field}{end}".upper() for field in (*AllSettings.model_fields, *of_gateways) for end in ("", "_file")} | {"FAIL_POINT"}
    ours = [name.removeprefix("KANAL_") for name in sorted(names) if name.startswith("KANAL_")]
    meant = {name: difflib.get_close_matches(name, known, 1) for name in ours if name not in known}
    return [f"KANAL_{name} is no setting of Kanal" + "".join(f"; KANAL_{other} is" for other in others) for name, others in meant.items()]
