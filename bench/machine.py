"""What was measured on: processor, memory, disk and versions."""

import os
import platform
import re
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from bench.measure import percentile, sync_seconds
from tests.servers.install import KAFKA_DIRECTORY, java, postgres_programs


def described() -> dict[str, str]:
    """Name → value, as a reader needs it to compare with another machine."""
    with tempfile.TemporaryDirectory() as directory:
        synced = sync_seconds(Path(directory))
    return {
        "Processor": f"{os.cpu_count()} × {_found('/proc/cpuinfo', 'model name') or platform.machine()}",
        "Memory": f"{int(_found('/proc/meminfo', 'MemTotal').split()[0]) // 1_048_576} GiB",
        "Disk": f"4 KiB kept (fdatasync) in {percentile(synced, 0.5) * 1_000:.2f} ms p50, {percentile(synced, 0.99) * 1_000:.2f} ms p99",
        "Load before": f"{os.getloadavg()[0]:.1f}",
        "System": f"Linux {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": str(sqlite.sqlite_version),
        "PostgreSQL": _version(str(postgres_programs() / "postgres"), "--version"),
        "Kafka": f"{KAFKA_DIRECTORY.name.removeprefix('kafka-')}, one node, Java {_version(java(), '--version')}",
        "Clients": ", ".join(f"{name} {version(name)}" for name in ("confluent-kafka", "kafka-python", "psycopg", "SQLAlchemy")),
    }


def _found(path: str, name: str) -> str:
    match = re.search(rf"^{name}\s*:\s*(.*)$", Path(path).read_text(), re.MULTILINE)
    return match[1] if match else ""


def _version(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"\d+(\.\d+)+", said)
    return match[0] if match else said.strip()
