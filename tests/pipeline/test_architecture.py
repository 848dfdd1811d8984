"""ARCHITECTURE.md is true: an SMS is sent to a running Kanal and the functions that its table names ran in that order, in each thread."""

import re
from pathlib import Path

from tests.pipeline.town import SECRET, TOKEN, Town
from tests.servers.gateway import SmsGateway
from tests.servers.kanal import PROJECT, Embedded
from tests.servers.mailbox import Mailbox
from tests.servers.processes import wait_until

ROW = re.compile(r"^\| .* \| `(?P<file>[\w/.\-]+\.py)` \| `(?P<function>[\w.]+)` \|$", re.MULTILINE)

# Wraps the named functions right after their module was executed, before anybody can import the bare ones.
HOOK = """
import functools, importlib.abc, importlib.machinery, sys, threading
WANTED, FILE = {wanted!r}, {file!r}

def noting(name, function):
    @functools.wraps(function)
    def wrapper(*arguments, **options):
        with open(FILE, "a") as file:
            file.write(threading.current_thread().name + " " + name + "\\n")
        return function(*arguments, **options)
    return wrapper

class Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        for path in WANTED[module.__name__]:
            owner, _, name = path.rpartition(".")
            place = getattr(module, owner) if owner else module
            setattr(place, name, noting(module.__name__ + ":" + path, getattr(place, name)))

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in WANTED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader)
        return spec

sys.meta_path.insert(0, Finder())
"""


def test_the_functions_that_the_table_names_ran_in_its_order(tmp_path: Path) -> None:
    """Who reads ARCHITECTURE.md can follow one report through the code."""
    named = [(_module(row["file"]), row["function"]) for row in ROW.finditer((PROJECT / "ARCHITECTURE.md").read_text())]
    assert len(named) >= 15
    wanted: dict[str, list[str]] = {}
    for module, function in named:
        wanted.setdefault(module, []).append(function)
    calls = tmp_path / "calls"
    (tmp_path / "sitecustomize.py").write_text(HOOK.format(wanted=wanted, file=str(calls)))
    with Mailbox() as mailbox, SmsGateway(SECRET) as gateway:
        environment = {"KANAL_SMS_MAIN_SECRET": SECRET, "KANAL_SMS_MAIN_SEND_URL": gateway.url, "KANAL_STAFF_TOKEN": TOKEN}
        with Embedded(tmp_path / "kanal", {**environment, "PYTHONPATH": str(tmp_path)}) as kanal:
            town = Town(kanal, mailbox, gateway)
            citizen = town.sms_citizen()
            citizen.send("LAPOR pohon tumbang di kelurahan Menteng")
            citizen.wait_for("Laporan diterima")
            ends = ("settled_record", "kanal_tracker.tables:save")
            wait_until(lambda: all(end in calls.read_text() for end in ends), 10, "the end of the story")
    called = [line.rsplit(" ", 1) for line in calls.read_text().splitlines()]
    in_table = [f"{module}:{function}" for module, function in named]
    first = {function: thread for thread, function in reversed(called)}  # in whose thread it ran first
    by_sender = {function for function, thread in first.items() if thread.startswith("sms-sender")}
    assert len(by_sender) == 4
    order = list(dict.fromkeys(function for _, function in called))
    for in_thread in (by_sender, set(in_table) - by_sender):
        assert [function for function in order if function in in_thread] == [function for function in in_table if function in in_thread]


def _module(file: str) -> str:
    parts = Path(file).with_suffix("").parts
    assert (PROJECT / file).exists(), f"{file} of ARCHITECTURE.md is not there"
    return ".".join(parts[2:] if parts[0] == "services" else parts)
