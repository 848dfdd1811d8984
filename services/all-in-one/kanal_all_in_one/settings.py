"""Settings of `kanal up`: those of every service."""

from kanal_ingest_email.settings import EmailSettings
from kanal_tracker.settings import TrackerSettings


class AllSettings(EmailSettings, TrackerSettings):
    """Every setting but those of the SMS gateways, which carry the gateway's name."""
