"""Kanal in containers: the compose project of `docker-compose.yml` under a name and with secrets of its own."""

import json
import os
import subprocess
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

from tests.compose.images import SERVICE_IMAGE, DockerError, docker
from tests.servers.kanal import PROJECT, SERVICES, Installation
from tests.servers.processes import ServerError, wait_until

UP_SECONDS = 300
SERVERS = ("kafka", "postgres", "nginx")


class Containers(Installation):
    """What an operator has after `deploy/make-secrets` and `docker compose up`."""

    mode = "kafka"

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        super().__init__(directory, environment)
        self.name = f"kanal-test-{os.getpid()}"
        self.secrets = directory / "secrets"
        self.make_secrets()
        self.staff_token = self.secret("staff-token")
        self.sms_secret = self.secret("sms-main-secret")
        settings = {"KANAL_SECRETS": str(self.secrets), "KANAL_HTTP_PORT": str(self.http_port), "KANAL_SMTP_PORT": str(self.smtp_port)}
        self.settings = {**settings, **environment}
        """The variables of the compose file; the operator's own `.env` is not read."""

    def make_secrets(self) -> None:
        subprocess.run([PROJECT / "deploy" / "make-secrets", self.secrets], check=True)

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def start(self) -> Self:
        """Everything built, up and healthy."""
        self.compose("up", "--detach", "--build")
        self.wait_healthy()
        return self

    def stop(self) -> None:
        """Everything down, the data too."""
        self.compose("down", "--volumes")

    def compose(self, *arguments: str) -> str:
        """What `docker compose …` prints on standard output. *Raises:* DockerError."""
        command = ["docker", "compose", "--project-name", self.name, "--env-file", os.devnull, *arguments]
        environment = {**os.environ, **self.settings}
        result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise DockerError(f"docker compose {' '.join(arguments)} failed:\n{result.stdout[-2000:]}{result.stderr[-3000:]}")
        return result.stdout

    def wait_healthy(self) -> None:
        """Every server and service is healthy by its own health check. *Raises:* ServerError with the logs of those that are not."""
        try:
            wait_until(lambda: not self._not_healthy(), UP_SECONDS, "health of every container")
        except ServerError as failure:
            late = self._not_healthy()
            raise ServerError(f"{failure}: {late}\n{self.compose('logs', '--tail', '20', *late)}") from None

    def healthy(self, service: str) -> bool:
        return service not in self._not_healthy()

    def _not_healthy(self) -> dict[str, str]:
        """Service → what Docker says of it instead."""
        form = '{{.Label "com.docker.compose.service"}}: {{.Status}}'
        lines = docker("ps", "--all", "--filter", f"label=com.docker.compose.project={self.name}", "--format", form).splitlines()
        said = dict(line.split(": ", 1) for line in lines)
        states = {service: said.get(service, "there is none") for service in (*SERVERS, *SERVICES)}
        return {service: state for service, state in states.items() if "(healthy)" not in state}

    def inspect(self, service: str) -> dict[str, Any]:
        """All that Docker knows of the service's container."""
        container = self.compose("ps", "--all", "--quiet", service).strip()
        described: dict[str, Any] = json.loads(docker("inspect", container))[0]
        return described

    def execute(self, service: str, *command: str, user: str = "", text_in: str | None = None) -> str:
        """What a command prints in the service's container. *Raises:* DockerError."""
        options = ["--interactive", *(["--user", user] if user else [])]
        return docker("exec", *options, self.inspect(service)["Id"], *command, text_in=text_in)

    def kill(self, service: str) -> None:
        """SIGKILL to the process, as the kernel does when memory is short; returns when Docker has started it anew.

        Not `docker kill`: what that ends counts as stopped by hand, and Docker does not start it again.
        """
        before = self.inspect(service)
        killer = ["--rm", "--pid", "host", "--user", "0", "--cap-drop", "ALL", "--cap-add", "KILL", "--network", "none"]
        docker("run", *killer, SERVICE_IMAGE, "sh", "-c", f"kill -9 {before['State']['Pid']}")
        wait_until(lambda: self.inspect(service)["RestartCount"] > before["RestartCount"], 60, f"a new start of {service}")

    def logs(self) -> str:
        return self.compose("logs", "--no-color")


def host_address() -> str:
    """Where containers reach this machine: relay and gateway of the tests listen there. On Linux, with dockerd on this machine."""
    subnet = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}").strip()
    return str(next(ip_network(subnet).hosts()))
