"""The normalizer's rules run by Kanal's own stage and by other engines, on one broker, over the same messages."""

import os
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.broker import Counter, broker
from bench.limits import LOOP
from bench.measure import Figure, memory_mib, processor_seconds
from bench.messages import load, messages
from bench.peers.rules import TARGETS
from kanal.journal import BatchLimit
from kanal.testing import keys
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import PROJECT, KanalProcess
from tests.servers.postgres import PostgresServer
from tests.servers.processes import Child

MESSAGES = 20_000
KANAL = "Kanal's normalizer"


class Engine(NamedTuple):
    """Another engine, and what it promises."""

    name: str
    guarantee: str
    environment: str
    """Below `.venv/peers`; empty = Kanal's own."""
    command: tuple[str, ...]
    note: str


ENGINES = (
    Engine("kafka-python loop", "at-least-once", "", ("bench.peers.plain",), "batch 500, idempotent producer"),
    Engine("Faust", "at-least-once", "faust", ("bench.peers.faust_agent", "worker", "--loglevel=warn"), ""),
    Engine("Quix Streams", "at-least-once", "quix", ("bench.peers.quix_frame",), "commits each 0.2 s"),
    Engine("Quix Streams, transactions", "exactly-once", "quix", ("bench.peers.quix_frame",), "commits each 0.2 s"),
)
Pids = Callable[[], AbstractSet[int]]


def measure(directory: Path, scale: float) -> list[Figure]:
    """Messages a second of each from its first to its last output, and what each holds in memory then."""
    count = int(MESSAGES * scale)
    with broker(directory) as kafka, PostgresServer(directory / "postgres") as postgres:
        load(kafka.address, messages(count, keys()))
        promise = "each once; remembers senders, texts and conversations in PostgreSQL; batch 500"
        with _counted(kafka, count) as figures, _kanal(directory, kafka, postgres) as pids:
            found = figures(KANAL, promise, pids)
        for engine in ENGINES:
            promise = f"{engine.guarantee}, no state{'; ' if engine.note else ''}{engine.note}"
            with _counted(kafka, count) as figures, _engine(directory, kafka, engine) as pids:
                found += figures(engine.name, promise, pids)
    return found


@contextmanager
def _counted(kafka: KafkaServer, count: int) -> Iterator[Callable[[str, str, Pids], list[Figure]]]:
    """Counts from before the engine starts; what is yielded waits for its end and gives the figures."""
    counter = Counter(kafka.address, TARGETS)

    def figures(name: str, promise: str, pids: Pids) -> list[Figure]:
        computed: list[float] = []
        expected = count * len(TARGETS)
        counted = counter.count(expected, lambda: computed.append(processor_seconds(pids())))
        after = counted.records - counted.first
        each = (processor_seconds(pids()) - computed[0]) * len(TARGETS) / after if after else 0.0
        missing = f"; only {counted.records} of {expected} records came" if counted.records < expected else ""
        repeats = f"; {counted.repeats} repeats" if counted.repeats else ""
        return [
            _compared(name, "", counted.a_second / len(TARGETS), "messages/s", promise + repeats + missing),
            _compared(name, ", processor", each * 1_000, "ms/message", "of this process alone, not of Kafka and PostgreSQL"),
            _compared(name, ", memory", memory_mib(pids()), "MiB", "resident at the end"),
        ]

    yield figures


def _compared(name: str, suffix: str, value: float, unit: str, note: str) -> Figure:
    limit = "" if suffix else LOOP.format(batch=BatchLimit().records, copies=len(TARGETS))
    return Figure(f"{name}{suffix}", value, unit, note, limit if name == KANAL else f"{KANAL}{suffix}")


@contextmanager
def _kanal(directory: Path, kafka: KafkaServer, postgres: PostgresServer) -> Iterator[Pids]:
    postgres.create_database("normalizer")
    environment = {
        "KANAL_DATA": str(directory / "data"),
        "KANAL_JOURNAL": f"kafka://{kafka.address}",
        "KANAL_DATABASE_URL": postgres.url("normalizer"),
    }
    process = KanalProcess("normalizer", directory, environment).start(wait=False)
    try:
        yield lambda: process.pids
    finally:
        process.stop()


@contextmanager
def _engine(directory: Path, kafka: KafkaServer, engine: Engine) -> Iterator[Pids]:
    group = engine.name.lower().replace(" ", "-").replace(",", "")
    python = str(PROJECT / ".venv" / "peers" / engine.environment / "bin" / "python") if engine.environment else sys.executable
    environment = {
        **os.environ,
        "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'services' / 'normalizer'}",
        "BENCH_KAFKA": kafka.address,
        "BENCH_GROUP": group,
        "BENCH_DIRECTORY": str(directory),
        "BENCH_GUARANTEE": engine.guarantee,
    }
    child = Child([python, "-m", *engine.command], directory / f"{group}.log", env=environment, cwd=directory)
    try:
        yield child.family
    finally:
        child.kill()
