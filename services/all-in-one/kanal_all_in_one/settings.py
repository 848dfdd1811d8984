"""Settings of `kanal up`: those of every service."""

import difflib
import re
from collections.abc import Iterable

from kanal_ingest_email.settings import EmailSettings
from kanal_tracker.settings import TrackerSettings


class AllSettings(EmailSettings, TrackerSettings):
    """Every setting but those of the SMS gateways, which carry the gateway's name."""


_OTHERS = re.compile(r"KANAL_(SMS_\w+_(SECRET|SEND_URL)(_FILE)?|FAIL_POINT)")


def unknown_settings(names: Iterable[str]) -> list[str]:
    """A sentence for each `KANAL_…` among these variables that nothing reads: most likely it is mistyped."""
    known = {f"{field}{end}".upper() for field in AllSettings.model_fields for end in ("", "_file")}
    ours = [name.removeprefix("KANAL_") for name in sorted(names) if name.startswith("KANAL_") and not _OTHERS.fullmatch(name)]
    meant = {name: difflib.get_close_matches(name, known, 1) for name in ours if name not in known}
    return [f"KANAL_{name} is no setting of Kanal" + "".join(f"; KANAL_{other} is" for other in others) for name, others in meant.items()]
