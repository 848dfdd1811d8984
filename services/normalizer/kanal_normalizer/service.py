"""The wiring of the normalizer."""

from kanal.service import Platform, Service
from kanal_normalizer import tables
from kanal_normalizer.handler import NormalizerHandler


def build(platform: Platform) -> Service:
    """One stage, no routes."""
    return Service("normalizer", handlers=[NormalizerHandler(platform.pack)], tables=[tables.metadata])
