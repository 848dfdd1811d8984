"""What a service is made of, and what it is given. Not here: running it (run.py)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import APIRouter
from sqlalchemy import MetaData

from kanal.attachments import AttachmentStore
from kanal.database import Database
from kanal.errors import SetupError
from kanal.journal import Journal
from kanal.journal.spool import Intake
from kanal.keys import Keys
from kanal.pack import Pack
from kanal.sending import Sender
from kanal.stage import Handler


class Listener(Protocol):
    """Something that listens on a port of its own (SMTP)."""

    def start(self) -> None:
        """Listen. Returns when connections are taken."""

    def stop(self) -> None:
        """Take no more, finish what is in hand."""


@dataclass(frozen=True)
class Platform:
    """What every service stands on; opened by run.py."""

    journal: Journal
    intake: Intake
    database: Database
    pack: Pack
    keys_if_any: Keys | None
    attachments: AttachmentStore

    @property
    def keys(self) -> Keys:
        """The keys; only adapters ask for them. *Raises:* SetupError where this process was given none."""
        if self.keys_if_any is None:
            raise SetupError("this service needs the keys of the installation: set KANAL_KEYS; `kanal keys` makes them once")
        return self.keys_if_any


@dataclass(frozen=True)
class Service:
    """One service, or several in one process: stages, routes, listeners, senders."""

    name: str
    handlers: Sequence[Handler] = ()
    routers: Sequence[APIRouter] = ()
    listeners: Sequence[Listener] = ()
    senders: Sequence[Sender] = ()
    tables: Sequence[MetaData] = field(default_factory=tuple)


def merged(name: str, services: Sequence[Service]) -> Service:
    """All of `services` as one."""
    return Service(
        name,
        handlers=[each for service in services for each in service.handlers],
        routers=[each for service in services for each in service.routers],
        listeners=[each for service in services for each in service.listeners],
        senders=[each for service in services for each in service.senders],
        tables=[each for service in services for each in service.tables],
    )


Build = Callable[[Platform], Service]
