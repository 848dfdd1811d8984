"""A process that appends until it is killed: `python -m tests.journal.appender ADDRESS SEED`.

It prints `key n` once record n of that key is acknowledged, and not before.
"""

import random
import sys
import threading
from pathlib import Path

from kanal.journal import Journal, Record
from kanal.journal.kafka import KafkaJournal
from kanal.journal.sqlite import SqliteJournal
from kanal.topics import REPORTS

THREADS = 4


def open_journal(address: str) -> Journal:
    """The journal at `kafka://…` or in a file."""
    return KafkaJournal(address) if address.startswith("kafka://") else SqliteJournal(Path(address))


def _append(journal: Journal, keys: list[str], dice: random.Random) -> None:
    following = dict.fromkeys(keys, 0)
    while True:
        batch = []
        for key in dice.choices(keys, k=dice.randint(1, 20)):
            batch.append(Record(topic=REPORTS, key=key, value=str(following[key]).encode(), headers={}))
            following[key] += 1
        journal.append(batch, 30.0)
        sys.stdout.write("".join(f"{record.key} {(record.value or b'').decode()}\n" for record in batch))
        sys.stdout.flush()


def main() -> None:
    address, seed = sys.argv[1:]
    journal = open_journal(address)
    for number in range(THREADS):
        keys = [f"{number}-{each}" for each in range(6)]
        threading.Thread(target=_append, args=(journal, keys, random.Random(f"{seed}-{number}"))).start()


if __name__ == "__main__":
    main()
