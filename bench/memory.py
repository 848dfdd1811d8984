"""What each process holds in memory, fresh and after work, and how long it takes to be ready."""

import time
from pathlib import Path

from bench.installation import SECRET, Progress, cluster, embedded
from bench.measure import Figure, median, memory_mib
from bench.messages import contacts, load, messages, sms
from bench.outside import Posts, ask
from bench.phone import TimedGateway
from kanal.keys import read_keys
from tests.servers.kanal import Cluster, Embedded, KanalProcess

MESSAGES = 20_000
STARTS = 3
CONNECTIONS = 32


def measure(directory: Path, scale: float) -> list[Figure]:
    """Both modes."""
    count = int(MESSAGES * scale)
    with TimedGateway(SECRET) as gateway:
        with embedded(directory / "embedded", gateway) as installation:
            figures = _worked(installation, count)
        with cluster(directory / "cluster", gateway) as installation:
            figures += _worked(installation, count)
    return figures


def _worked(installation: Cluster | Embedded, count: int) -> list[Figure]:
    """Starts first: each is alone then, and memory is asked of processes that have just been started."""
    processes = list(installation.processes.values())
    ready = {process.name: median(_start_seconds(process) for _ in range(STARTS)) for process in processes}
    fresh = {process.name: memory_mib(process.pids) for process in processes}
    _let_work(installation, count)
    figures = []
    for process in processes:
        base = f"{process.name}, fresh"
        figures += [
            Figure(f"{process.name}, ready after", ready[process.name], "s", f"median of {STARTS} starts, from exec to /readyz"),
            Figure(base, fresh[process.name], "MiB", "resident"),
            Figure(f"{process.name}, after {count:,} SMS", memory_mib(process.pids), "MiB", "resident", base),
        ]
    return figures


def _start_seconds(process: KanalProcess) -> float:
    process.stop()
    started = time.monotonic()
    process.start()
    return time.monotonic() - started


def _let_work(installation: Cluster | Embedded, count: int) -> None:
    """Until every citizen has been answered. On Kafka the messages are appended in bulk, embedded only the webhook may append."""
    if isinstance(installation, Cluster):
        keys = read_keys(installation.data / "keys")
        load(installation.kafka.address, [*contacts(count, keys), *messages(count, keys)])
    else:
        ask(Posts(installation.http_port, "/sms/main/inbound", SECRET, [sms(index) for index in range(count)], 0, CONNECTIONS))
    progress = Progress(installation)
    progress.sent(count)
    progress.close()
