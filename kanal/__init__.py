"""The shared library of Kanal: events, journal, stage loop and what every channel needs. Services import it, never each other."""

__version__ = "0.1.0"
