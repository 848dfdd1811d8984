"""The demo city: Kanal embedded, citizens who write real mail and SMS, and an agency that works their reports off."""

from kanal_all_in_one.demo.play import run_demo

__all__ = ["run_demo"]
