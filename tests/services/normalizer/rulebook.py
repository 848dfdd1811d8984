"""Messages before the rule book, and what is known after them. Pure: no database."""

from kanal_normalizer import rules
from kanal_normalizer.reading import read
from kanal_normalizer.rules import Book, Outcome
from kanal_normalizer.tables import Memory, Told, seconds
from kanal_normalizer.understanding import Understanding

from kanal.events import Attachment, MessageReceived
from kanal.numbers import SYMBOLS
from kanal.testing import ADI, jakarta, later, message, number

BOOK = Book(jakarta(), Understanding(jakarta()))
MAIL = "adi@warga.example"
WRONG = number("first")[:-1] + SYMBOLS[(SYMBOLS.index(number("first")[-1]) + 1) % len(SYMBOLS)]


def after(*messages: MessageReceived, memory: Memory | None = None) -> Memory:
    """What is known once these messages were settled."""
    memory = memory or Memory()
    for each in messages:
        for change in settle(each, memory).changes:
            memory.apply(change)
    return memory


def told(number: str, status: str, minutes: float, memory: Memory, sender: str = ADI) -> Memory:
    """What is known once the tracker has told the reporter of a status, so many minutes after noon."""
    memory.apply(Told(number, message(sender=sender).conversation, status, seconds(later(minutes))))
    return memory


def settle(arrived: MessageReceived, memory: Memory | None = None) -> Outcome:
    return rules.settle(read(arrived, jakarta()), memory or Memory(), BOOK)


def photo(sha256: str) -> Attachment:
    return Attachment(path="m/1", media_type="image/jpeg", size=1_000, sha256=sha256)


FIRST = message("first", text="Lampu jalan mati di Kelurahan Cideng")
