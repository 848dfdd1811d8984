"""The rules in a plain kafka-python loop: at least once, by idempotent appends that are waited for before the offsets are noted."""

import os

from kafka import KafkaConsumer, KafkaProducer

from bench.peers.rules import SOURCE, outputs, wire_headers
from kanal.journal import partition_of
from kanal.topics import PARTITIONS

BATCH = 500
"""Five times Kanal's: with less this client waits more than it works."""


def main() -> None:
    """Until killed."""
    address = os.environ["BENCH_KAFKA"]
    consumer = KafkaConsumer(
        SOURCE, bootstrap_servers=address, group_id=os.environ["BENCH_GROUP"], enable_auto_commit=False,
        auto_offset_reset="earliest", max_poll_records=BATCH,
    )  # fmt: skip
    producer = KafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True, linger_ms=1)
    while True:
        polled = consumer.poll(timeout_ms=500, max_records=BATCH)
        for message in (message for messages in polled.values() for message in messages):
            for record in outputs(message.key, message.value, message.headers):
                partition = partition_of(record.key, PARTITIONS)
                producer.send(record.topic, record.value, record.key.encode(), wire_headers(record), partition)
        if polled:
            producer.flush()
            consumer.commit()


if __name__ == "__main__":
    main()
