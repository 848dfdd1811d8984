"""Settings of the tracker."""

from pydantic import Field

from kanal.settings import Settings


class TrackerSettings(Settings):
    """The pages and the staff API."""

    staff_token: str = Field(
        "", description="Bearer token of the staff API; in embedded mode one is made at the first start (`staff.token` among the keys)."
    )
