"""The figures of `bench/pipeline.py`."""

from pathlib import Path

from bench.measure import Figure
from bench.pipeline import MESSAGES
from bench.pipeline import measure as measure_stages


def measure(directory: Path, scale: float) -> list[Figure]:
    """Records a second of each stage, and of all together."""
    rows = measure_stages(int(MESSAGES * scale))
    return [Figure(row.what, row.count / row.seconds, "records/s", f"{row.count} records", rows[-1].what) for row in rows[:-1]] + [
        Figure(rows[-1].what, rows[-1].count / rows[-1].seconds, "reports/s", "SQLite, synchronous=FULL")
    ]
