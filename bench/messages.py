"""Citizens' SMS for measurements: every one becomes a report of its own. Made up, the same in each run."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from confluent_kafka import Producer

from kanal import topics
from kanal.contacts import Contact, conversation_key, seal, sender_key
from kanal.events import ContactSealed, MessageReceived
from kanal.ids import derive_id
from kanal.journal import Record, partition_of
from kanal.keys import Keys
from kanal.numbers import number_for
from kanal.records import message_records, record_of
from kanal.topics import PARTITIONS

PREFIX = "JK"
TEXTS = (
    "Jalan berlubang besar di kelurahan Cikini dekat stasiun, sudah dua motor jatuh minggu ini",
    "Lampu jalan mati di RT 03 RW 05 kelurahan Kebagusan, gelap sekali kalau malam",
    "Sampah menumpuk di depan sekolah, kel Rawamangun, sudah seminggu tidak diangkut",
    "Pohon besar miring dan hampir tumbang di jalan depan taman, kelurahan Menteng",
)


def text(index: int) -> str:
    """What citizen `index` writes."""
    return f"{TEXTS[index % len(TEXTS)]} nomor {index}"


def phone(index: int) -> str:
    """Whose message it is: each citizen writes once."""
    return f"+62812{index:08d}"


def sms(index: int) -> dict[str, str]:
    """The message as a gateway posts it."""
    return {"id": str(index), "from": phone(index), "to": "1708", "text": text(index)}


def messages(count: int, keys: Keys) -> Iterator[Record]:
    """The records of messages as the SMS adapter appends them."""
    now = datetime.now(UTC)
    for index in range(count):
        message_id = derive_id("bench", str(index))
        message = MessageReceived(
            message_id=message_id, channel="sms", account="main", sender_key=sender_key(keys, "phone", phone(index)),
            conversation=conversation_key(keys, "sms", "main", phone(index)), received_at=now, text=text(index),
            number=number_for(message_id, keys.number, PREFIX),
        )  # fmt: skip
        yield message_records(message, "bench")


def contacts(count: int, keys: Keys) -> Iterator[Record]:
    """The sealed addresses of the same citizens."""
    now = datetime.now(UTC)
    for index in range(count):
        conversation = conversation_key(keys, "sms", "main", phone(index))
        sealed = ContactSealed(conversation=conversation, sealed=seal(keys, Contact(phone(index), account="main")))
        event_id = derive_id("bench", str(index), "contact")
        yield record_of(topics.contacts("sms"), conversation, sealed, event_id=event_id, source="bench", at=now)


def load(address: str, records: Iterable[Record]) -> None:
    """Append to Kafka in bulk, where Kanal would, uncompressed: not every peer can read what Kanal's own producer compresses."""
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 20, "log_level": 3})
    for record in records:
        produce(producer, record)
    producer.flush()


def produce(producer: Producer, record: Record) -> None:
    """One record, in the partition of its key."""
    headers: Sequence[tuple[str, str | bytes | None]] = [(name, value.encode()) for name, value in record.headers.items()]
    while True:
        try:
            producer.produce(
                record.topic, record.value, record.key.encode(), partition_of(record.key, PARTITIONS), headers=list(headers)
            )  # fmt: skip
            return
        except BufferError:
            producer.poll(0.05)
