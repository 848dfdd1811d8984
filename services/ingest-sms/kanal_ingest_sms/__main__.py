"""`python -m kanal_ingest_sms`: the SMS adapter as a process of its own."""

import sys
from functools import partial

from kanal.run import run
from kanal.settings import Settings, load_settings
from kanal_ingest_sms.service import build

if __name__ == "__main__":
    settings = load_settings(Settings)
    sys.exit(run("ingest-sms", settings, partial(build, settings)))
