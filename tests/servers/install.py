"""Puts the servers of the tests on this machine: Debian packages, and Apache Kafka's jars by Maven.

`python -m tests.servers.install [--only kafka,postgres,nginx,postfix]`; a call that finds everything changes nothing.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

PARTS = ("kafka", "postgres", "nginx", "postfix")
OLDEST_JAVA = 17

_POM = Path(__file__).with_name("pom.xml")
_PROJECT = Path(__file__).resolve().parents[2]
_KEPT = _PROJECT / ".servers"
_POLICY = Path("/usr/sbin/policy-rc.d")
_LOCK_SECONDS = 600


def _kafka_version() -> str:
    version = ET.parse(_POM).findtext("{*}properties/{*}kafka.version")
    assert version, "pom.xml names Kafka's version"
    return version


KAFKA_DIRECTORY = _KEPT / f"kafka-{_kafka_version()}"
"""Where Kafka's jars lie once `install` has run."""


class NotInstalledError(RuntimeError):
    """Something is missing on this machine, and the message says what to do about it."""


def install(parts: Sequence[str] = PARTS) -> None:
    """Makes sure that all needed for these parts is here. *Raises:* NotInstalledError when that takes another user or fails."""
    packages = missing_packages(parts)
    if packages:
        _install_packages(packages)
    if "kafka" in parts and not _kafka_complete():
        _copy_kafka()


def missing_packages(parts: Sequence[str] = PARTS) -> list[str]:
    """The Debian packages to install, in alphabetical order."""
    present = {
        "kafka": {"openjdk-17-jre-headless": _found_java() is not None, "maven": _kafka_complete() or bool(_program("mvn"))},
        "postgres": {"postgresql": bool(_postgres_folders())},
        "nginx": {"nginx-light": bool(_program("nginx"))},
        "postfix": {"postfix": bool(_program("postfix"))},
    }
    return sorted(package for part in parts for package, here in present[part].items() if not here)


def java() -> str:
    """The Java to run Kafka with. *Raises:* NotInstalledError when there is none of at least version 17."""
    found = _found_java()
    if found is None:
        raise NotInstalledError(f"no Java >= {OLDEST_JAVA}; {_ADVICE}")
    return found


def postgres_programs() -> Path:
    """The folder of the newest PostgreSQL's programs. *Raises:* NotInstalledError when there is none."""
    folders = _postgres_folders()
    if not folders:
        raise NotInstalledError(f"no PostgreSQL; {_ADVICE}")
    return folders[-1]


_ADVICE = "run: python -m tests.servers.install"


def _program(name: str) -> str | None:
    # Users other than root do not have the folders of servers in their PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _postgres_folders() -> list[Path]:
    programs = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return sorted((program.parent for program in programs), key=lambda folder: _leading_number(folder.parent.name))


def _leading_number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _found_java() -> str | None:
    homes = [os.environ["JAVA_HOME"]] if os.environ.get("JAVA_HOME") else []
    candidates = [Path(home, "bin/java") for home in homes]
    candidates += [Path(found) for found in [shutil.which("java")] if found]
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    return next((str(java) for java in candidates if os.access(java, os.X_OK) and _java_version(java) >= OLDEST_JAVA), None)


def _java_version(program: Path) -> int:
    release = program.resolve().parents[1] / "release"
    # Read from the file that every JDK carries, since starting Java takes longer than all other checks.
    text = release.read_text() if release.exists() else _output([str(program), "-version"])
    match = re.search(r'(?:JAVA_VERSION=|version )"(\d+)', text)
    return int(match[1]) if match else 0


def _output(command: list[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def _install_packages(packages: list[str]) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalledError(f"missing packages: {', '.join(packages)}\nrun as root: apt-get install {' '.join(packages)}")
    _say(f"installing {' '.join(packages)}")
    with _no_autostart():
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *packages)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@contextlib.contextmanager
def _no_autostart() -> Iterator[None]:
    """Keeps packages from starting their services, unless the machine has a policy of its own on that."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _apt_get(*arguments: str) -> None:
    """Runs apt-get, waiting for another one to end: its own option for that covers packages, but not `update`."""
    command = ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS}", *arguments]
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        result = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            return
        if "Could not get lock" not in result.stderr or time.monotonic() > deadline:
            raise NotInstalledError(f"{' '.join(command)} failed\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
        time.sleep(1)


def _kafka_complete() -> bool:
    marker = KAFKA_DIRECTORY / "complete"
    return marker.exists() and marker.read_text() == _pom_digest()


def _pom_digest() -> str:
    return hashlib.sha256(_POM.read_bytes()).hexdigest()


def _copy_kafka() -> None:
    """Copies the jars beside their place and moves them there in one step, so that half a copy is never found."""
    _say(f"fetching Apache Kafka {_kafka_version()}")
    with _alone():
        if _kafka_complete():
            return
        unfinished = KAFKA_DIRECTORY.with_name(f"{KAFKA_DIRECTORY.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _run_maven(unfinished)
        (unfinished / "complete").write_text(_pom_digest())
        shutil.rmtree(KAFKA_DIRECTORY, ignore_errors=True)
        unfinished.rename(KAFKA_DIRECTORY)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other process of this machine copies."""
    _KEPT.mkdir(exist_ok=True)
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_maven(target: Path) -> None:
    goal = "dependency:copy-dependencies"
    # Kafka's own modules are of scope "runtime".
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    result = subprocess.run(["mvn", "-q", "-B", "-f", str(_POM), goal, *options], capture_output=True, text=True, check=False)
    if result.returncode or not list(target.glob("kafka-server-*.jar")):
        raise NotInstalledError(f"Maven could not fetch Kafka\n{result.stdout[-2000:]}{result.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.install", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas (default: %(default)s)")
    parts = parser.parse_args().only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    try:
        install(parts)
    except NotInstalledError as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
