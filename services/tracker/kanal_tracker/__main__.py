"""`python -m kanal_tracker`: the tracker as a process of its own."""

import sys
from functools import partial

from kanal.run import run
from kanal.settings import load_settings
from kanal_tracker.service import build
from kanal_tracker.settings import TrackerSettings

if __name__ == "__main__":
    settings = load_settings(TrackerSettings)
    sys.exit(run("tracker", settings, partial(build, settings)))
