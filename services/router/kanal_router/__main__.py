"""`python -m kanal_router`: the router as a process of its own."""

import sys

from kanal.run import run
from kanal.settings import Settings, load_settings
from kanal_router.service import build

if __name__ == "__main__":
    sys.exit(run("router", load_settings(Settings), build))
