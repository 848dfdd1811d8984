"""The gateway of the tests, noting when each citizen's number was on the phone."""

import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from tests.servers.gateway import Answer, SmsGateway
from tests.servers.processes import ServerError, wait_until

_NUMBER = re.compile(rb"[A-Z]{2}-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}")


class TimedGateway(SmsGateway):
    """See `SmsGateway`. `arrivals`: tracking number → monotonic time of the first SMS that names it."""

    def __init__(self, secret: str) -> None:
        super().__init__(secret)
        self.arrivals: dict[str, float] = {}

    def receive(self, body: bytes, signature: str) -> tuple[Answer, dict[str, Any]]:
        arrived = time.monotonic()
        answer = super().receive(body, signature)
        for number in _NUMBER.findall(body):
            self.arrivals.setdefault(number.decode(), arrived)
        return answer

    def wait_for_numbers(self, numbers: Collection[str], timeout_seconds: float) -> Mapping[str, float]:
        """When each of these was there; without those that were not in time."""
        with suppress(ServerError):
            wait_until(lambda: all(number in self.arrivals for number in numbers), timeout_seconds, "SMS with every number")
        return {number: self.arrivals[number] for number in numbers if number in self.arrivals}
