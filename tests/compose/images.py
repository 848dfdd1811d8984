"""The images that `docker-compose.yml` and `deploy/Dockerfile` stand on: pulled, or where that fails made from packages.

`python -m tests.compose.images` makes sure of them and says what is missing. A stand-in has the paths, users and variables of the
official image that Kanal relies on, and no more; `standins/` says how. It carries the label `kanal.standin`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.install import KAFKA_DIRECTORY, NotInstalledError, install
from tests.servers.kanal import PROJECT

SERVICE_IMAGE = "kanal:0.1.0"

_STANDINS = Path(__file__).with_name("standins")
_DEBIAN = "kanal-standin:debian"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class DockerError(RuntimeError):
    """A docker command failed; the message ends with what it says."""


def prepare() -> None:
    """Docker answers and every image is here. *Raises:* NotInstalledError that says what is missing, DockerError."""
    _check_docker()
    for name in named():
        if not _is_here(name):
            _say(f"{name}: {'pulled' if _pulled(name) else 'cannot be pulled; ' + _made(name)}")


def named() -> list[str]:
    """The public images that the project's files name."""
    text = (PROJECT / "docker-compose.yml").read_text() + (PROJECT / "deploy" / "Dockerfile").read_text()
    return sorted(set(re.findall(r"^(?: *image:|FROM) ([\w./:-]+)", text, re.MULTILINE)) - {SERVICE_IMAGE})


def standins() -> list[str]:
    """Those of them that are stand-ins here."""
    return [name for name in named() if _is_standin(name)]


def release() -> None:
    """Take the public names from stand-ins, so that the next `docker compose up` of this machine pulls the real images."""
    for name in standins():
        docker("rmi", name)


def docker(*arguments: str, check: bool = True, text_in: str | None = None) -> str:
    """What `docker …` prints. *Raises:* DockerError when it fails and `check` is set."""
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, input=text_in, check=False)
    if check and result.returncode:
        raise DockerError(f"docker {' '.join(arguments)} failed:\n{result.stdout[-2000:]}{result.stderr[-3000:]}")
    return result.stdout


def _check_docker() -> None:
    if not shutil.which("docker"):
        raise NotInstalledError("there is no docker here: install Docker with its compose plug-in")
    if not docker("version", "--format", "{{.Server.Version}}", check=False).strip():
        raise NotInstalledError("no dockerd answers (docker version): start one, or let DOCKER_HOST name it")
    if not docker("compose", "version", check=False):
        raise NotInstalledError("docker has no compose plug-in (docker compose version): install it")


def _is_here(name: str) -> bool:
    return bool(docker("images", "--quiet", name).strip())


def _is_standin(name: str) -> bool:
    return bool(docker("images", "--quiet", "--filter", "label=kanal.standin", name).strip())


def _pulled(name: str) -> bool:
    docker("pull", "--quiet", name, check=False)
    return _is_here(name)


def _made(name: str) -> str:
    kind = name.partition(":")[0].rpartition("/")[2]
    if not _is_here(_DEBIAN):
        _make_debian()
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copytree(_STANDINS, context, dirs_exist_ok=True)
        if kind == "kafka":
            install(("kafka",))
            shutil.copytree(KAFKA_DIRECTORY, context / "jars")
        _build(kind, name, context)
    return f"a stand-in was made ({_STANDINS.name}/{kind}.Dockerfile)"


def _make_debian() -> None:
    if not shutil.which("debootstrap"):
        raise NotInstalledError("images cannot be pulled, and debootstrap, which would make them, is missing: apt-get install debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        root, context = Path(folder, "root"), Path(folder, "context")
        _run("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root))
        _run("sh", "-c", f"tar -C {root} -c --exclude=./var/cache/apt/archives/*.deb . | docker import - kanal-standin:debootstrap")
        shutil.copytree(_STANDINS, context)
        shutil.copy(_CERTIFICATES, context)
        (context / "pip.conf").write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in _pip_settings().items()))
        _build("debian", _DEBIAN, context)


def _pip_settings() -> dict[str, str]:
    """What pip is told on this machine, by file or environment: index, certificates, time limits."""
    lines = (line.partition("=") for line in _run(sys.executable, "-m", "pip", "config", "list").splitlines())
    return {name.rpartition(".")[2]: value.strip("'") for name, _, value in lines}


def _build(kind: str, name: str, context: Path) -> None:
    docker("build", "--quiet", "--tag", name, "--file", str(context / f"{kind}.Dockerfile"), str(context))


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise NotInstalledError(f"{' '.join(command)} failed:\n{result.stdout[-1000:]}{result.stderr[-2000:]}")
    return result.stdout


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    try:
        prepare()
    except (NotInstalledError, DockerError) as reason:
        sys.exit(f"make compose-test: {reason}")


if __name__ == "__main__":
    main()
