"""`make soak`: the catalogue round after round, each run with a seed of its own, a JSON line for each result; `--table` tells them.

python -m tests.faults.soak [--fault NAME …] [--mode MODE] [--rounds N] [--minutes M]
python -m tests.faults.soak --table
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.catalogue import CATALOGUE
from tests.faults.harness import MODES, Fault, Result, Series, seed_of
from tests.faults.table import write_table
from tests.servers.kanal import PROJECT

RESULTS = Path(".soak/results.jsonl")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every run kept every promise."""
    options = _options(arguments)
    if options.table:
        write_table(options.results)
        return 0
    options.results.parent.mkdir(parents=True, exist_ok=True)
    commit = _commit()
    deadline = time.monotonic() + options.minutes * 60
    failed = 0
    with closing(Series("embedded")) as embedded, closing(Series("kafka")) as kafka:
        for fault, mode, round_ in _rounds(options):
            if time.monotonic() > deadline:
                break
            series = embedded if mode == "embedded" else kafka
            result = series.run(fault, seed_of(fault.name, mode, round_))
            failed += not result.is_clean
            _keep(options.results, result, commit, series.logs)
    print(f"{failed} runs failed; results in {options.results}")  # noqa: T201
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.faults.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--fault", nargs="+", choices=[fault.name for fault in CATALOGUE], help="only these (default: all)")
    parser.add_argument("--mode", choices=MODES, help="only in this mode (default: both)")
    parser.add_argument("--rounds", type=int, default=30, help="runs of each fault in each mode")
    parser.add_argument("--first-round", type=int, default=1, help="go on where an earlier soak ended: the round is part of the seed")
    parser.add_argument("--minutes", type=float, default=60 * 24, help="stop after so long")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"where results are appended (default: {RESULTS})")
    parser.add_argument("--table", action="store_true", help="add the results to docs/reference/reliability.md")
    return parser.parse_args(arguments)


def _rounds(options: argparse.Namespace) -> Iterator[tuple[Fault, str, int]]:
    """What takes an hour comes last: a soak of less time must not end with it."""
    wanted = [fault for fault in CATALOGUE if not options.fault or fault.name in options.fault]
    modes = [options.mode] if options.mode else MODES
    for faults in ([fault for fault in wanted if fault.rounds != 1], [fault for fault in wanted if fault.rounds == 1]):
        for round_, mode, fault in itertools.product(range(options.rounds), modes, faults):
            if mode in fault.modes and (fault.rounds is None or round_ < fault.rounds):
                yield fault, mode, options.first_round + round_


def _commit() -> str:
    """Which Kanal this is; `+` where files were changed since."""
    described = subprocess.run(["git", "describe", "--always", "--dirty=+"], check=False, cwd=PROJECT, capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


def _keep(results: Path, result: Result, commit: str, logs: Path | None) -> None:
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit, "fault": result.fault, "mode": result.mode, "seed": result.seed,
        "acknowledged": result.acknowledged, "lost": result.lost, "twice": result.twice,
        "without_answer": len(result.findings.without_answer), "answers_repeated": result.findings.answers_repeated,
        "repeats_uncounted": len(result.findings.repeats_uncounted), "recovery_seconds": round(result.recovery_seconds, 2),
        "seconds": round(result.seconds, 1), "load": round(os.getloadavg()[0], 1), "error": result.error,
        "breaches": {name: found[:5] for name, found in result.findings.breaches().items()},
        "logs": str(logs) if logs and not result.is_clean else "",
    }  # fmt: skip
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
