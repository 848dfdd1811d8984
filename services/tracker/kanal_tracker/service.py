"""The wiring of the tracker."""

from kanal.errors import SetupError
from kanal.keys import secret_in
from kanal.service import Platform, Service
from kanal_tracker import tables
from kanal_tracker.api import ReportApi
from kanal_tracker.handler import TrackerHandler
from kanal_tracker.pages import Pages
from kanal_tracker.settings import TrackerSettings


def build(settings: TrackerSettings, platform: Platform) -> Service:
    """One stage, the API and the public pages. *Raises:* SetupError without a staff token."""
    api = ReportApi(platform.database, platform.journal, platform.pack, staff_token(settings))
    pages = Pages(platform.database, platform.pack)
    return Service("tracker", handlers=[TrackerHandler(platform.pack)], routers=[pages.router, api.router], tables=[tables.metadata])


def staff_token(settings: TrackerSettings) -> str:
    """The token of the settings; in embedded mode one that is made at the first start."""
    if settings.staff_token:
        return settings.staff_token
    if not settings.embedded:
        raise SetupError("KANAL_STAFF_TOKEN (or KANAL_STAFF_TOKEN_FILE) is needed")
    return secret_in(settings.keys_directory / "staff.token")
