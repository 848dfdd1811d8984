"""`make bench`: print what was measured on this machine, in this run."""

import os
import platform

from bench.pipeline import measure


def main() -> None:
    """Print the table."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; embedded, SQLite FULL\n")
    print(f"{'what':42} {'count':>8} {'seconds':>8} {'a second':>9}")
    for row in measure():
        print(f"{row.what:42} {row.count:8} {row.seconds:8.2f} {row.count / row.seconds:9.0f}")


if __name__ == "__main__":
    main()
