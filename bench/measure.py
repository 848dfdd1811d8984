"""What a measurement gives, and how figures are printed. Not here: measuring anything."""

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured value."""

    what: str
    value: float
    unit: str
    note: str = ""
    base: str = ""
    """`what` of the figure of the same run that it is compared with; empty = nothing to compare with."""


Topics = Mapping[str, Sequence[Figure]]
"""Title → figures, in the order in which they are shown."""

HEADINGS = ("what", "value", "unit", "ratio", "to", "note")


def rows(figures: Sequence[Figure], bases: Mapping[str, float]) -> list[Sequence[str]]:
    """The cells of each figure; without a ratio where the base was not measured in this run."""
    return [
        (figure.what, number(figure.value), figure.unit, *_compared(figure, bases), figure.note)
        for figure in figures
    ]  # fmt: skip


def values(topics: Topics) -> dict[str, float]:
    """What can be a base: every figure of the run by its name."""
    return {figure.what: figure.value for figures in topics.values() for figure in figures}


def _compared(figure: Figure, bases: Mapping[str, float]) -> tuple[str, str]:
    base = bases.get(figure.base)
    return (f"{figure.value / base:.2f}", figure.base) if base else ("", "")


def number(value: float) -> str:
    """About three digits; more would be noise."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(topics: Topics) -> str:
    """All figures as one table for a terminal."""
    bases = values(topics)
    cells = {title: rows(figures, bases) for title, figures in topics.items()}
    widths = [max(map(len, column)) for column in zip(HEADINGS, *(row for lines in cells.values() for row in lines), strict=True)]
    lines = [_line(HEADINGS, widths)]
    for title, lines_of_topic in cells.items():
        lines += ["", title, *(_line(row, widths) for row in lines_of_topic)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = {1, 3}
    words = [cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(words).rstrip()


def percentile(measured: Iterable[float], share: float) -> float:
    """The smallest measured value that `share` of all do not exceed."""
    in_order = sorted(measured)
    return in_order[max(0, math.ceil(share * len(in_order)) - 1)]


def median(measured: Iterable[float]) -> float:
    """The middle one."""
    return percentile(measured, 0.5)


def latencies(what: str, seconds: Sequence[float], note: str = "") -> list[Figure]:
    """p50, p95 and p99 in milliseconds."""
    return [Figure(f"{what}, p{share}", percentile(seconds, share / 100) * 1_000, "ms", note) for share in (50, 95, 99)]


def memory_mib(pids: Iterable[int], field: str = "VmRSS") -> float:
    """What these processes hold in memory; `VmHWM` is the most that they ever held."""
    return sum(_kib(pid, field) for pid in pids) / 1_024


def _kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def processor_seconds(pids: Iterable[int]) -> float:
    """What these processes have computed so far; unlike time on the clock hardly touched by what else runs here."""
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids)
    return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")


def sync_seconds(directory: Path, count: int = 200) -> list[float]:
    """How long the disk below `directory` takes to keep 4 KiB, `count` times."""
    path = directory / "sync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(b"k" * 4_096)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    path.unlink()
    return took
