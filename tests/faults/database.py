"""T12: PostgreSQL is killed or restarted, hangs or is locked; connections are cut, some of them between COMMIT and its answer."""

import random
import socket
import threading
import time
from contextlib import closing, suppress
from typing import Any

import psycopg

from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits
from tests.servers.kanal import Cluster
from tests.servers.processes import free_port

CUTS_SECONDS = 4
HANGS_SECONDS = 20
SLOWLY = Habits(pause_seconds=HANGS_SECONDS / 20)


def _cluster(run: Run) -> Cluster:
    assert isinstance(run.town.kanal, Cluster)
    return run.town.kanal


def killed(run: Run) -> None:
    """SIGKILL to all its processes; it recovers from its log."""
    with run.traffic() as traffic:
        traffic.wait_for(run.random.randint(5, 30))
        _cluster(run).postgres.kill()
        time.sleep(run.random.uniform(0, 2))
        _cluster(run).postgres.start()


def restarted(run: Run) -> None:
    """Ends open sessions and comes back."""
    with run.traffic() as traffic:
        traffic.wait_for(run.random.randint(5, 30))
        _cluster(run).postgres.restart()


def hangs(run: Run) -> None:
    """Connections stay open and nothing is answered."""
    with run.traffic(SLOWLY) as traffic:
        traffic.wait_for(run.random.randint(5, 30))
        _cluster(run).postgres.pause()
        try:
            time.sleep(HANGS_SECONDS)
        finally:
            _cluster(run).postgres.resume()


def locked(run: Run) -> None:
    """As by a schema change or a backup that takes its time: every stage waits for its row of the offsets."""
    with run.traffic(SLOWLY) as traffic, closing(_administrator(run, "kanal")) as connection:
        traffic.wait_for(run.random.randint(5, 30))
        with connection.transaction():
            connection.execute("LOCK TABLE stage_offsets IN ACCESS EXCLUSIVE MODE")
            time.sleep(HANGS_SECONDS)


def _administrator(run: Run, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(host="127.0.0.1", port=_cluster(run).postgres.port, user="postgres", dbname=database, autocommit=True)


def connections_ended(run: Run) -> None:
    """The server ends every session of Kanal, again and again, whatever it is doing."""
    with run.traffic() as traffic, closing(_administrator(run, "postgres")) as connection:
        traffic.wait_for(5)
        until = time.monotonic() + CUTS_SECONDS
        while time.monotonic() < until:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kanal'")
            time.sleep(run.random.uniform(0.01, 0.3))


def cut_at_commit(run: Run) -> None:
    """One service reaches the database through a proxy that breaks the connection at COMMIT: half of them before it, half after."""
    cluster = _cluster(run)
    process = run.random.choice([cluster.processes[name] for name in ("normalizer", "router", "tracker", "ingest-sms", "ingest-email")])
    proxy = CutAtCommit(cluster.postgres.port, run.random.random())
    straight = process.environment["KANAL_DATABASE_URL"]
    process.stop()
    process.environment["KANAL_DATABASE_URL"] = straight.replace(f":{cluster.postgres.port}/", f":{proxy.port}/")
    with closing(proxy):
        process.start()
        with run.traffic() as traffic:
            traffic.wait_for(10)
            proxy.cutting = True
            time.sleep(CUTS_SECONDS)
            proxy.cutting = False
        run.wait_for_rest()
        process.stop()
    assert proxy.cuts, "nothing was cut"
    process.environment["KANAL_DATABASE_URL"] = straight
    process.start()


class CutAtCommit:
    """Passes bytes on to PostgreSQL. While `cutting`, a third of the connections that say COMMIT are cut there."""

    def __init__(self, server_port: int, seed: float) -> None:
        self.port = free_port()
        self.cutting = False
        self.cuts = 0
        self._server_port = server_port
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65_536):
                if from_client and self.cutting and b"COMMIT\x00" in data and self._random.random() < 1 / 3:
                    self.cuts += 1
                    if self._random.random() < 0.5:
                        target.sendall(data)  # it is committed, and nobody hears of it
                        time.sleep(0.05)
                    break
                target.sendall(data)
            for each in (source, target):
                each.shutdown(socket.SHUT_RDWR)


ONLY = ("kafka",)
FAULTS = [
    Fault("database killed", "T12", "PostgreSQL is killed (SIGKILL) and started again within 2 seconds", killed, ONLY, ONLY),
    Fault("database restarted", "T12", "PostgreSQL is restarted in order", restarted, ONLY, ()),
    Fault("database hangs", "T12", f"PostgreSQL hangs (SIGSTOP) for {HANGS_SECONDS} seconds", hangs, ONLY, ()),
    Fault("database locked", "T12", f"Somebody holds the table of the stages' offsets for {HANGS_SECONDS} seconds", locked, ONLY, ()),
    Fault(
        "database ends sessions",
        "T12",
        "PostgreSQL ends all of Kanal's sessions again and again for 4 seconds",
        connections_ended,
        ONLY,
        ONLY,
    ),
    Fault(
        "database cut at commit",
        "T12",
        "A service's connection breaks at COMMIT, before it arrives or before the answer comes",
        cut_at_commit,
        ONLY,
        ONLY,
    ),
]
