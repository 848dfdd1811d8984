"""`python -m kanal_ingest_email`: the e-mail adapter as a process of its own."""

import sys
from functools import partial

from kanal.run import run
from kanal.settings import load_settings
from kanal_ingest_email.service import build
from kanal_ingest_email.settings import EmailSettings

if __name__ == "__main__":
    settings = load_settings(EmailSettings)
    sys.exit(run("ingest-email", settings, partial(build, settings)))
