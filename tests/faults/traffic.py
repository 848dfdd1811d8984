"""Citizens who write by SMS and mail while a fault happens. What they write comes from the seed; how much, from how long it takes.

What is not acknowledged is sent again, as gateways and mail servers do.
"""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from smtplib import SMTP, SMTPException
from typing import NamedTuple

import requests

from kanal.keys import read_keys
from kanal.numbers import number_for
from tests.faults.checker import Ledger, Sent
from tests.pipeline.town import ADDRESS, Town

CITIZENS = 10
AT_LEAST, AT_MOST = 4, 12
"""Messages of a citizen: so many in any case, no more however long the fault takes."""

PATIENCE_SECONDS = 180
PROBLEMS = ("lampu jalan mati", "jalan berlubang", "pohon tumbang", "sampah menumpuk", "saluran mampet", "trotoar rusak")
PLACES = ("Cawang", "Cikini", "Menteng", "Kebagusan", "Rawamangun")


@dataclass(frozen=True)
class Habits:
    """What citizens do besides reporting."""

    pause_seconds: float = 0.12
    """In the mean, between two messages of one citizen."""
    repeats: bool = True
    """Some send the same text again; it counts as the same for ten minutes, so not where clocks are wrong."""
    reports_only: bool = False
    """Nobody writes about what he reported before, where that may be lost."""
    at_most: int = AT_MOST
    channels: tuple[str, ...] = ("sms", "sms", "email")
    resends: float = 0.1
    """How often the network brings an acknowledged message once more."""


class Message(NamedTuple):
    """One message before it is sent."""

    kind: str
    text: str
    about: str
    vendor_id: str


class Acknowledged(NamedTuple):
    """What "got it" told: the message's id and the number that it would have as a report."""

    message_id: str
    number: str


class Traffic:
    """All citizens of one run. `over` ends them once each has sent the least."""

    def __init__(self, town: Town, seed: int, habits: Habits) -> None:
        self.ledger = Ledger()
        self.over = threading.Event()
        self.failures: list[str] = []
        self.noted = threading.Condition()
        names = [f"{seed}-{index}" for index in range(CITIZENS)]
        kinds: dict[str, type[Citizen]] = {"sms": SmsCitizen, "email": MailCitizen}
        self._citizens = [
            kinds[habits.channels[index % len(habits.channels)]](town, random.Random(name), habits) for index, name in enumerate(names)
        ]
        self._writing = len(self._citizens)
        self._threads = [threading.Thread(target=self._live, args=(citizen,), daemon=True) for citizen in self._citizens]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Return when everybody has sent what he wanted to. *Raises:* AssertionError when something was never acknowledged."""
        self.over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS + 60)
        assert not any(thread.is_alive() for thread in self._threads), "a citizen hangs"
        assert not self.failures, self.failures

    def wait_for(self, messages: int, timeout_seconds: float = 60) -> None:
        """Return when so many are acknowledged, or everybody has sent all that he may: the fault then happens under load."""
        with self.noted:
            assert self.noted.wait_for(lambda: len(self.ledger.sent) >= messages or not self._writing, timeout_seconds), "no traffic"

    @property
    def everybody_wrote(self) -> bool:
        """Whether all citizens have sent all that they may."""
        return not self._writing

    def _live(self, citizen: "Citizen") -> None:
        try:
            for sent in citizen.messages(self.over):
                with self.noted:
                    self.ledger.sent.append(sent)
                    self.noted.notify_all()
        except Exception as error:  # told by `join`
            self.failures.append(f"{citizen.address}: {error!r}")
        with self.noted:
            self._writing -= 1
            self.noted.notify_all()


class Citizen(ABC):
    """Writes one message after the other and waits for each to be acknowledged."""

    channel = ""

    def __init__(self, town: Town, chance: random.Random, habits: Habits) -> None:
        self.town = town
        self.random = chance
        self.habits = habits
        self.address = ""
        self.reports: list[tuple[str, str]] = []
        """Number and text of what he has reported so far; a text that was repeated is gone."""

    def messages(self, over: threading.Event) -> Iterator[Sent]:
        """Sends; gives each message once it is acknowledged."""
        for turn in range(self.habits.at_most):
            if over.is_set() and turn >= AT_LEAST:
                return
            message = self._next(turn)
            got = self._until_acknowledged(message)
            if self.random.random() < self.habits.resends:
                assert self._until_acknowledged(message) == got, "a message sent again is another one"
            if message.kind == "report":
                self.reports.append((got.number, message.text))
            yield Sent(self.address, self.channel, message.kind, got.message_id, message.about or got.number)
            over.wait(self.random.expovariate(1 / self.habits.pause_seconds))

    def _next(self, turn: int) -> Message:
        vendor_id = f"{self.random.getrandbits(96):024x}"
        choice = self.random.random() if self.reports and not self.habits.reports_only else 0
        if choice < 0.55:
            place = f"{self.random.choice(PROBLEMS)} di kelurahan {self.random.choice(PLACES)}"
            return Message("report", f"LAPOR {place}, tiang nomor {turn} {vendor_id[:6]}", "", vendor_id)
        number, text = self.random.choice(self.reports)
        if choice < 0.75 or (choice > 0.9 and not (text and self.habits.repeats)):
            return Message("follow-up", f"{number} masih sama, foto ke {turn} menyusul {vendor_id[:6]}", number, vendor_id)
        if choice < 0.9:
            return Message("question", f"CEK {number}", number, vendor_id)
        self.reports[self.reports.index((number, text))] = (number, "")
        return Message("repeat", text, number, vendor_id)

    def _until_acknowledged(self, message: Message) -> Acknowledged:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if got := self._send(message):
                return got
            time.sleep(0.05)
        raise TimeoutError("a message was never acknowledged")

    @abstractmethod
    def _send(self, message: Message) -> Acknowledged | None:
        """None when it was not acknowledged: nobody knows then whether it arrived."""


class SmsCitizen(Citizen):
    """By SMS: the gateway hears the number at once."""

    channel = "sms"

    def __init__(self, town: Town, chance: random.Random, habits: Habits) -> None:
        super().__init__(town, chance, habits)
        self.address = f"+62812{self.random.randrange(10**8):08}"

    def _send(self, message: Message) -> Acknowledged | None:
        fields = {"id": message.vendor_id, "from": self.address, "to": "08111272206", "text": message.text}
        try:
            status, answer = self.town.gateway.send(f"{self.town.kanal.url}/sms/main/inbound", fields)
        except requests.RequestException:
            return None
        return Acknowledged(answer["message_id"], answer["number"]) if status == 200 else None


class MailCitizen(Citizen):
    """By mail: 250 names the message, from which the number follows."""

    channel = "email"

    def __init__(self, town: Town, chance: random.Random, habits: Habits) -> None:
        super().__init__(town, chance, habits)
        self.address = f"warga{self.random.getrandbits(48):012x}@warga.example"
        self._number_key = read_keys(self.town.kanal.data / "keys").number

    def _send(self, message: Message) -> Acknowledged | None:
        head = f"From: {self.address}\r\nMessage-ID: <{message.vendor_id}@warga.example>\r\nSubject: Laporan warga\r\n"
        try:
            with SMTP("127.0.0.1", self.town.kanal.smtp_port, timeout=30) as smtp:
                smtp.ehlo()
                smtp.mail(self.address)
                smtp.rcpt(ADDRESS)
                code, answer = smtp.data(f"{head}\r\n{message.text}\r\n".encode())
        except (SMTPException, OSError):
            return None
        if code != 250:
            return None
        message_id = answer.decode().rpartition(" ")[2]
        return Acknowledged(message_id, number_for(message_id, self._number_key, "JK"))
