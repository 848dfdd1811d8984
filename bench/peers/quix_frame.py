"""The rules as a dataframe of Quix Streams, with the guarantee that BENCH_GUARANTEE names."""

import os
from typing import Any

from quixstreams import Application
from quixstreams.models import Serializer

from bench.peers.rules import SOURCE, TARGETS, outputs, wire_headers
from kanal.journal import Record

COMMIT_SECONDS = 0.2


class ValueOfRecord(Serializer):
    """A record is encoded already."""

    def __call__(self, value: Record, ctx: Any) -> bytes | None:
        return value.value


def main() -> None:
    """Until killed."""
    app = Application(
        broker_address=os.environ["BENCH_KAFKA"],
        consumer_group=os.environ["BENCH_GROUP"],
        state_dir=os.environ["BENCH_DIRECTORY"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        commit_interval=COMMIT_SECONDS,
        processing_guarantee=os.environ["BENCH_GUARANTEE"],
    )
    targets = {name: app.topic(name, key_serializer="str", value_serializer=ValueOfRecord()) for name in TARGETS}
    frame = app.dataframe(app.topic(SOURCE, key_deserializer="bytes", value_deserializer="bytes"))
    frame = frame.apply(lambda value, key, _time, headers: outputs(key, value, headers), expand=True, metadata=True)
    frame = frame.set_headers(lambda record, *_: wire_headers(record))
    frame.to_topic(lambda record, *_: targets[record.topic], key=lambda record: record.key)
    app.run()


if __name__ == "__main__":
    main()
