"""A member of a group that reads and commits until it is killed: `python -m tests.journal.member ADDRESS GROUP`.

It prints `read PARTITION OFFSET ID` for each record, then `committed PARTITION OFFSET` once the group's position is noted.
"""

import sys
import time

from kanal.journal import BatchLimit
from kanal.journal.kafka import KafkaJournal
from kanal.journal.kafka_read import committed
from kanal.topics import REPORTS
from tests.journal.reading import from_first, positions


def main() -> None:
    address, group = sys.argv[1:]
    reader = KafkaJournal(address).reader(group, [REPORTS], from_first)
    while True:
        batch = reader.poll(BatchLimit(records=7), 0.1)
        for stored in batch:
            sys.stdout.write(f"read {stored.partition} {stored.offset} {stored.headers['ce_id']}\n")
        sys.stdout.flush()
        reader.commit(positions(batch))
        for place, offset in positions(batch).items():
            while committed(reader._consumer, place) != offset:
                time.sleep(0.01)
            sys.stdout.write(f"committed {place.partition} {offset}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
