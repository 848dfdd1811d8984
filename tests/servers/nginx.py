"""nginx on loopback with a given configuration."""

import os
import shutil
import signal
from pathlib import Path

from tests.servers.processes import Child, Server, port_open

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Server):
    """nginx with two workers; everything that it writes lies in its directory."""

    start_seconds = 10.0

    def __init__(self, directory: Path, config_text: str, port: int | None = None) -> None:
        """`config_text` is what stands inside `http { … }`: servers, upstreams and so on.

        It must listen on the port given here, or on the one that `{port}` in the text is replaced by.
        """
        super().__init__(directory, port)
        self._http = config_text.replace("{port}", str(self.port))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> Child:
        config = self.directory / "nginx.conf"
        config.write_text(self._config())
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
        # SIGTERM, since a master that is killed leaves its workers behind.
        return Child(
            [program, "-p", str(self.directory), "-c", str(config), "-e", str(self._log)],
            self._log,
            death_signal=signal.SIGTERM,
        )

    def ready(self) -> bool:
        return port_open(self.port)

    @property
    def _log(self) -> Path:
        return self.directory / "error.log"

    def _config(self) -> str:
        folders = "\n".join(f"    {name}_temp_path {self.directory}/{name};" for name in _TEMPORARY)
        # Workers of another user could not enter a test's folders.
        user = "user root;" if os.geteuid() == 0 else ""
        return (
            f"daemon off;\n{user}\nworker_processes 2;\n"
            f"pid {self.directory}/nginx.pid;\nerror_log {self._log};\n"
            "events { worker_connections 1024; }\n"
            f"http {{\n    access_log {self.directory}/access.log;\n{folders}\n{self._http}\n}}\n"
        )
