"""Running the demo: Kanal as a child process, citizens and an agency in this one, and a line on the screen for all that happens."""

import os
import queue
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import requests

from kanal.errors import SetupError
from kanal.settings import load_settings
from kanal_all_in_one.demo.citizens import SCRIPTS, Script
from kanal_all_in_one.demo.outside import MailWorld, SmsWorld
from kanal_all_in_one.settings import AllSettings

NEW_REPORT_SECONDS = 4.0
AGENCY_SECONDS = (3.0, 7.0)
START_SECONDS = 30.0
KEPT = ("KANAL_HTTP_PORT", "KANAL_SMTP_PORT")
_NUMBER = re.compile(r"JK-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}")
_WORK: tuple[tuple[str, dict[str, str]], ...] = (
    ("accept", {}),
    ("progress", {"note": "Petugas sudah di lokasi."}),
    ("finish", {"note": "Sudah dikerjakan dan dibersihkan.", "reason": "demo: no camera"}),
    ("validate", {}),
)


class Heard(NamedTuple):
    """Something that reached a citizen."""

    address: str
    text: str
    message_id: str


class Case(NamedTuple):
    """A report of the demo and the step that its agency takes next."""

    number: str
    script: Script
    step: int


def run_demo(minutes: float) -> int:
    """Until Ctrl-C, or for `minutes` (0 = no limit); the exit code."""
    leave_real_installation()
    demo = Demo(_beside_others(load_settings(AllSettings)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: demo.stop.set())
    try:
        demo.start()
        demo.play(time.monotonic() + minutes * 60 if minutes else float("inf"))
    finally:
        demo.close()
    shutil.rmtree(os.environ["KANAL_DATA"])  # not when it failed: the log is there
    return 0


def leave_real_installation() -> None:
    """Invented citizens never go into one, whatever the environment names: journal, database, keys, relay, gateway, pack.

    Only the two ports are ours to keep.
    """
    for name in [name for name in os.environ if name.startswith("KANAL_") and name not in KEPT]:
        del os.environ[name]
    os.environ["KANAL_DATA"] = tempfile.mkdtemp(prefix="kanal-demo-")


def _beside_others(settings: AllSettings) -> AllSettings:
    """With other ports where those are taken: what listens there may be a real Kanal, and must not hear invented citizens."""
    for name, host, port in (
        ("KANAL_HTTP_PORT", settings.http_host, settings.http_port),
        ("KANAL_SMTP_PORT", settings.smtp_host, settings.smtp_port),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                probe.bind((host, 0))
                os.environ[name] = str(probe.getsockname()[1])
    return load_settings(AllSettings)


class Demo:
    """The city, its people and Kanal in the middle."""

    def __init__(self, settings: AllSettings) -> None:
        self._settings = settings
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._secret, self._token = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self._mail = MailWorld(lambda *what: self._heard.put(Heard(*what)))
        self._sms = SmsWorld(lambda *what: self._heard.put(Heard(*what)), self._secret)
        self._url = f"http://127.0.0.1:{settings.http_port}"
        self._people: dict[str, Script] = {}
        self._answered: set[str] = set()
        self._due: list[tuple[float, Case]] = []
        self._random = random.Random(20261124)  # noqa: S311 (a play, always the same)
        self._process: subprocess.Popen[bytes] | None = None
        self.stop = threading.Event()

    def start(self) -> None:
        """Kanal up, with this process as its relay and gateway. *Raises:* SetupError when it does not start."""
        data = Path(self._settings.data)
        data.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "KANAL_SMTP_RELAY": f"127.0.0.1:{self._mail.port}",
            "KANAL_SMS_MAIN_SEND_URL": self._sms.url,
            "KANAL_SMS_MAIN_SECRET": self._secret,
            "KANAL_STAFF_TOKEN": self._token,
        }
        with (data / "kanal.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches this process only, which then stops the child.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kanal_all_in_one", "up"], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_ready(data)
        _say("Kanal", f"runs. Watch a report at {self._url}/ ; log in {data / 'kanal.log'}. Ctrl-C stops.")

    def play(self, until: float) -> None:
        """New reports every few seconds; what citizens hear and agencies do in between."""
        scripts = list(SCRIPTS)
        next_report = time.monotonic()
        while time.monotonic() < until and not self.stop.is_set():
            if time.monotonic() >= next_report:
                self._new_report(scripts[0])
                scripts.append(scripts.pop(0))
                next_report = time.monotonic() + NEW_REPORT_SECONDS
            self._listen(0.2)
            self._work()

    def close(self) -> None:
        """Everything down."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(15)
        self._mail.close()
        self._sms.close()

    def _wait_until_ready(self, data: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                if requests.get(f"{self._url}/readyz", timeout=1).ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)
        raise SetupError(f"Kanal did not start: see {data / 'kanal.log'}")

    def _new_report(self, script: Script) -> None:
        if script.channel == "mail":
            address = f"warga{self._random.randrange(10_000)}@warga.example"
            self._people[address] = script
            self._mail.send(self._settings.smtp_port, address, self._settings.email_address, script.subject, script.text)
        else:
            address = f"+62812000{self._random.randrange(100_000):05}"
            self._people[address] = script
            self._sms.send(self._url, address, script.text)
        _say(f"Warga  {script.channel:4}", script.text)

    def _listen(self, seconds: float) -> None:
        try:
            heard = self._heard.get(timeout=seconds)
        except queue.Empty:
            return
        _say("Kanal  →", heard.text.strip())
        script, number = self._people.get(heard.address), _NUMBER.search(heard.text)
        if script is None or number is None:
            return
        if number.group() not in self._answered and "selesai" not in heard.text:
            self._answered.add(number.group())
            self._soon(Case(number.group(), script, 0))
            if script.asks:
                self._say_to_kanal(heard, script, f"CEK {number.group()}")
        elif "BELUM" in heard.text and script.not_fixed:
            self._people[heard.address] = script._replace(not_fixed=False)
            self._say_to_kanal(heard, script, f"BELUM {number.group()}")
            self._soon(Case(number.group(), script, 0))

    def _say_to_kanal(self, heard: Heard, script: Script, text: str) -> None:
        _say(f"Warga  {script.channel:4}", text)
        if script.channel == "mail":
            self._mail.send(
                self._settings.smtp_port, heard.address, self._settings.email_address, f"Re: {script.subject}", text, heard.message_id
            )
        else:
            self._sms.send(self._url, heard.address, text)

    def _soon(self, case: Case) -> None:
        self._due.append((time.monotonic() + self._random.uniform(*AGENCY_SECONDS), case))

    def _work(self) -> None:
        now = time.monotonic()
        ready = [case for at, case in self._due if at <= now]
        self._due = [(at, case) for at, case in self._due if at > now]
        for case in ready:
            action, values = _WORK[case.step]
            report = requests.get(f"{self._url}/api/v1/reports/{case.number}", timeout=10).json()
            body: dict[str, Any] = {"action_id": uuid.uuid4().hex, "action": action, "version": report["version"], **values}
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = requests.post(f"{self._url}/api/v1/reports/{case.number}/actions", json=body, headers=headers, timeout=15)
            agency = (report["agency"] or {"name": "?"})["name"]
            who = "Biro" if action == "validate" else "Dinas"
            _say(who, f"{agency}: {action} {case.number} → {answer.json().get('status_label', answer.status_code)}")
            if answer.ok and case.step + 1 < len(_WORK):
                self._soon(case._replace(step=case.step + 1))


def _say(who: str, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {who:12}  {what}", flush=True)
