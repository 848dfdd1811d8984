"""`make bench`: measure on this machine, in this run, and print one table. `--write` puts it into docs/reference/performance.md."""

import argparse
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import structlog

from bench.machine import described
from bench.measure import Figure, table
from bench.page import PAGE, page

TOPICS: Mapping[str, tuple[str, str]] = {
    "pipeline": ("Embedded pipeline, stage by stage in one thread", "bench.stages"),
    "limits": ("Upper limits: the same work with nothing around it", "bench.limits"),
    "peers": ("The normalizer's rules in other engines (Kafka)", "bench.side_by_side"),
    "whole": ("The whole pipeline on Kafka and PostgreSQL", "bench.whole"),
    "latency": ("From the gateway's post to the number", "bench.latency"),
    "lookups": ("GET /api/v1/reports/{number}", "bench.lookups"),
    "memory": ("Memory and start", "bench.memory"),
}
"""Name for `--only` → title, and the module whose `measure(directory, scale)` gives the figures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Kanal on this machine.")
    parser.add_argument("--only", default=",".join(TOPICS), help=f"some of {','.join(TOPICS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the messages and seconds of a whole run")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} too")
    asked = parser.parse_args(arguments)
    names = asked.only.split(",")
    if unknown := set(names) - TOPICS.keys():
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    machine = described()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    measured: dict[str, list[Figure]] = {}
    failed = []
    for name in names:
        try:
            measured[TOPICS[name][0]] = _measured(name, asked.scale)
        except Exception:  # what was measured before must not be lost with it
            traceback.print_exc()
            failed.append(name)
        if asked.write and measured:
            PAGE.write_text(page(machine, measured, asked.scale), encoding="utf-8")
    print(f"\n{table(measured)}")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def _measured(name: str, scale: float) -> list[Figure]:
    """In a folder of its own that every user may enter: PostgreSQL does not run as root."""
    print(f"measuring {name} …", flush=True)
    directory = Path(tempfile.mkdtemp(prefix=f"kanal-bench-{name}-"))
    directory.chmod(0o755)
    measure: Callable[[Path, float], list[Figure]] = import_module(TOPICS[name][1]).measure
    try:
        return measure(directory, scale)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped and folders removed then too
    main()
