"""`python -m kanal_normalizer`: the normalizer as a process of its own."""

import sys

from kanal.run import run
from kanal.settings import Settings, load_settings
from kanal_normalizer.service import build

if __name__ == "__main__":
    sys.exit(run("normalizer", load_settings(Settings), build))
