"""Starting, watching and ending server processes; nothing in here knows a particular server."""

import contextlib
import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

POLL_SECONDS = 0.03
_PR_SET_PDEATHSIG = 1
# Loaded here, since the code between fork and exec should do as little as possible.
_libc = ctypes.CDLL(None, use_errno=True)
_handed_out: set[int] = set()


class ServerError(RuntimeError):
    """A server did not start, or did not do in time what was waited for."""


def free_port() -> int:
    """A TCP port that nobody listens on, never given twice by this process.

    It lies below the kernel's ephemeral range. Inside that range a client that keeps connecting to a killed
    server may be given the server's own port as its source, be connected to itself, and so keep the server from
    ever binding again.
    """
    for port in random.sample(range(15_000, _first_ephemeral_port()), 1_000):
        if port not in _handed_out and _can_bind(port):
            _handed_out.add(port)
            return port
    raise ServerError("no free port on 127.0.0.1")


def _first_ephemeral_port() -> int:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(first) if int(first) > 16_000 else 65_536


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def port_open(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], timeout_seconds: float, what: str) -> None:
    """Polls until the condition holds. *Raises:* ServerError, naming `what`, when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not within {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)


def reachable_by(user: str, directory: Path) -> bool:
    """Whether that user may pass through all folders on the way to this one (pytest's own are closed to others)."""
    account = pwd.getpwnam(user)
    return all(_may_enter(folder, account) for folder in directory.resolve().parents)


def _may_enter(folder: Path, account: pwd.struct_passwd) -> bool:
    state = folder.stat()
    if state.st_uid == account.pw_uid:
        return bool(state.st_mode & 0o100)
    if state.st_gid == account.pw_gid:
        return bool(state.st_mode & 0o010)
    return bool(state.st_mode & 0o001)


def home_for(user: str, directory: Path, prefix: str) -> Path:
    """A folder that this user can reach: `directory` itself, or a temporary one that `directory/elsewhere` points to.

    Asked again for the same directory it gives the same folder.
    """
    link = directory / "elsewhere"
    if link.is_dir():
        return link.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    if reachable_by(user, directory):
        return directory
    home = Path(tempfile.mkdtemp(prefix=prefix))
    home.chmod(0o711)
    link.unlink(missing_ok=True)
    link.symlink_to(home)
    return home


class Child:
    """A process that leads its own group and session, with its output appended to a log file."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """`death_signal` is what the process gets when we die; choose one that makes it end its own children.

        Linux sends that signal when the *thread* that started the process ends. A server started by a short-lived
        thread would die with that thread, so only the main thread may start one.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start servers from the main thread: they die with the thread that started them")
        self.log = log
        parent = os.getpid()
        with log.open("ab") as output:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent, death_signal),  # noqa: PLW1509 - no other way to set this signal
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout_seconds: float) -> int:
        """The exit code, once the process has ended. *Raises:* ServerError, after killing it, when it does not in time."""
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"process {self.pid} did not end within {timeout_seconds:g} s") from None

    def family(self) -> set[int]:
        """The living processes that are this one, belong to its group, or descend from it."""
        return _family(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Signals this process and all that descend from it."""
        for pid in self.family():
            _signal(pid, number)

    def pause(self) -> None:
        """Returns when the process and all that descend from it stand still.

        SIGSTOP alone does not see to that: until the kernel has run the thread that it chose, the others go on working
        (50 ms on a busy machine), so a server might still answer what came after the signal.
        """
        wait_until(self._stopped, 10, f"standstill of process {self.pid}")

    def stands_still(self) -> bool:
        """Whether every thread of the process and of all that descend from it is stopped; not when it is gone."""
        states = [state for pid in self.family() for state in _threads(pid)]
        return bool(states) and all(state == "T" for state in states)

    def _stopped(self) -> bool:
        self.send(signal.SIGSTOP)  # again each time: a child may have been born meanwhile
        return self.stands_still()

    def stop(self, number: signal.Signals, timeout_seconds: float) -> None:
        """Asks the process to end and makes sure that it and its descendants are gone; by force after the time-out."""
        family = self.family()
        # A paused process would keep the request pending.
        self.send(signal.SIGCONT)
        if self.exit_code is None:
            _signal(self.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_seconds)
        self._destroy(family)

    def kill(self) -> None:
        """SIGKILL to the process and its descendants; returns when they are gone."""
        # Held still first: a parent that sees a child die may clean up or start another one, which a power cut would not allow.
        if self.exit_code is None:
            _signal(self.pid, signal.SIGSTOP)
        self._destroy(self.family())

    def _destroy(self, family: set[int]) -> None:
        family |= self.family()
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not (family & _living().keys()), 10, f"end of process {self.pid} and its children")

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def _die_with(parent: int, number: signal.Signals) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    # The parent may have died before the line above took effect; then no signal will ever come.
    if os.getppid() != parent:
        os._exit(1)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _threads(pid: int) -> Iterator[str]:
    """The state of each thread of a process, as the letter that proc(5) gives it; none when the process is gone."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            yield stat.read_text().rpartition(")")[2].split()[0]


def _living() -> dict[int, tuple[int, int]]:
    """Every process that is not a zombie: its parent and its group."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The program's name, in brackets, may hold spaces and brackets of its own.
            state, parent, group = stat.read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX":
                found[int(stat.parent.name)] = (int(parent), int(group))
    return found


def _family(leader: int) -> set[int]:
    living = _living()
    family: set[int] = set()
    newcomers = {pid for pid, (_, group) in living.items() if leader in {pid, group}}
    while newcomers:
        family |= newcomers
        newcomers = {pid for pid, (parent, _) in living.items() if parent in family} - family
    return family


class Server(ABC):
    """A server process that can be started, ended in every manner, and started again on the same data and port."""

    stop_signal = signal.SIGTERM
    stop_seconds = 20.0
    start_seconds = 60.0

    def __init__(self, directory: Path, port: int | None) -> None:
        self.directory = directory.resolve()
        self.port = free_port() if port is None else port
        self._child: Child | None = None

    @abstractmethod
    def launch(self) -> Child:
        """Starts the process, after preparing what it needs on disk; does not wait."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server does its work, not only listens."""

    def start(self, *, wait: bool = True) -> Self:
        """Starts the server, only from the main thread. With `wait=False` several can start side by side.

        *Raises:* ServerError, with the end of the server's log, when it does not come up.
        """
        if self.running:
            raise ServerError(f"{self} runs already")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._child = self.launch()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Returns once the server does its work. *Raises:* as `start`."""
        try:
            wait_until(self._ready_or_dead, self.start_seconds, f"start of {self}")
        except ServerError as failure:
            child, self._child = self._running_child(), None
            child.kill()
            raise ServerError(f"{failure}\n{child.log_tail()}") from None

    def _ready_or_dead(self) -> bool:
        code = self._running_child().exit_code
        if code is not None:
            raise ServerError(f"{self} ended at once with exit code {code}")
        return self.ready()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._running_child().pid

    @property
    def pids(self) -> set[int]:
        """The server's living processes."""
        return self._child.family() if self._child else set()

    def stop(self) -> None:
        """Ends the server in order; does nothing when it is not running."""
        if self._child is not None:
            self._child.stop(self.stop_signal, self.stop_seconds)
            self._child = None

    def kill(self) -> None:
        """SIGKILL to all processes of the server, as a crash of the machine would; what the disk was told stays."""
        child, self._child = self._running_child(), None
        child.kill()

    def restart(self) -> None:
        """Starts the server again on the same data and port, after stopping it if it still runs."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Makes the server hang: connections stay open and nothing is answered."""
        self._running_child().pause()

    def resume(self) -> None:
        self._running_child().send(signal.SIGCONT)

    def _running_child(self) -> Child:
        if self._child is None:
            raise ServerError(f"{self} is not running")
        return self._child

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stops the server and deletes what it keeps in a temporary folder outside its directory, if anything."""
        self.stop()
        link = self.directory / "elsewhere"
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
            link.unlink()

    def __str__(self) -> str:
        return f"{type(self).__name__} on port {self.port}"
