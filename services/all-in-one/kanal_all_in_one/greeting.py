"""What `kanal up` says when it is up: where to look and what to try. For people; logs are JSON lines beside it."""

import os
import sys

from kanal_ingest_sms.settings import gateway_settings, secret_file

from kanal.pack import find_pack, load_pack
from kanal_all_in_one.settings import AllSettings, unknown_settings

_TEXT = """
Kanal for {city} is running, {mode}.

  Look    http://localhost:{port}/               the page where citizens follow a report
  Mail    {address} at {smtp_host}:{smtp_port}
  SMS     POST http://localhost:{port}/sms/main/inbound  (signed with {sms_secret})
  Replies {replies}
  Data    {data}   (keys in {keys}: back them up)

Try it, in another terminal:

  printf 'From: Siti <siti@warga.example>\\nSubject: Jalan rusak\\n\\nJalan berlubang besar di kelurahan Cikini.\\n' \\
    | curl -s smtp://127.0.0.1:{smtp_port} --mail-from siti@warga.example --mail-rcpt {address} -T -
  {then}
  make demo        shows a whole city at work.      Ctrl-C stops.
"""


def greet(settings: AllSettings) -> None:
    """Print it to standard error."""
    replies = f"through the relay {settings.smtp_relay}" if settings.smtp_relay else f"as files in {settings.data / 'outbox'}"
    files = f"cat {settings.data / 'outbox'}/*.eml      # the receipt, with the number"
    then = "(the receipt, with the number, goes to the relay)" if settings.smtp_relay else files
    mode = "embedded: one process, one SQLite journal" if settings.embedded else f"on {settings.journal}"
    pack = load_pack(find_pack(settings.pack))
    text = _TEXT.format(
        city=pack.name, mode=mode, port=settings.http_port, address=settings.email_address, smtp_host=settings.smtp_host,
        sms_secret="KANAL_SMS_MAIN_SECRET" if gateway_settings("main").secret else secret_file(settings.keys_directory, "main"),
        smtp_port=settings.smtp_port, replies=replies, data=settings.data, keys=settings.keys_directory, then=then,
    )  # fmt: skip
    for sentence in unknown_settings(os.environ, pack.sms_gateways):
        text += f"\n  Note: {sentence}.\n"
    print(text, file=sys.stderr, flush=True)
