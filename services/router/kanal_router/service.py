"""The wiring of the router."""

from kanal.service import Platform, Service
from kanal_router.handler import RouterHandler


def build(platform: Platform) -> Service:
    """One stage without tables of its own."""
    return Service("router", handlers=[RouterHandler(platform.pack)])
