"""The rules as a Faust agent: at least once, by Faust's own word (offsets follow the flush of what was sent)."""

import os

import faust

from bench.peers.rules import SOURCE, TARGETS, outputs, wire_headers
from kanal.journal import partition_of
from kanal.topics import PARTITIONS

app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{os.environ['BENCH_KAFKA']}",
    datadir=os.environ["BENCH_DIRECTORY"],
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    broker_commit_interval=0.2,
    producer_acks=-1,
)
bytes_as_they_are = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
source = app.topic(SOURCE, **bytes_as_they_are)
targets = {name: app.topic(name, **bytes_as_they_are) for name in TARGETS}


@app.agent(source)
async def normalize(stream: faust.StreamT) -> None:
    """Message by message; Faust batches what is sent."""
    async for event in stream.events():
        for record in outputs(event.key, event.value, event.headers.items()):
            partition = partition_of(record.key, PARTITIONS)
            await targets[record.topic].send(
                key=record.key.encode(), value=record.value, partition=partition, headers=dict(wire_headers(record))
            )  # fmt: skip


if __name__ == "__main__":
    app.main()
