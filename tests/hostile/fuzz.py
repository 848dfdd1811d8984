"""Coverage-guided fuzzing of one target with atheris: `make fuzz TARGET=mail`. It stops at the first finding, or never.

What it has learnt is kept in `.fuzz/<target>`, so that the next run goes on from there.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kanal", "kanal_ingest_email", "kanal_ingest_sms", "kanal_normalizer", "email"]):
    from tests.hostile.targets import TARGETS


def main() -> None:
    """The first argument is the target, all further ones are libFuzzer's."""
    name, *options = sys.argv[1:]
    corpus = Path(".fuzz", name)
    corpus.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], "-timeout=10", "-rss_limit_mb=2048", *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
