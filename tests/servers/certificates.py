"""Certificates for TLS on loopback, made by openssl for one test and good for two days."""

import subprocess
from pathlib import Path
from typing import NamedTuple

_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


class Certificate(NamedTuple):
    """Two PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for whoever listens on 127.0.0.1, and for clients."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        own = self._make("authority", "-addext", "keyUsage=critical,keyCertSign")
        self.certificate = own.certificate
        """What those need who shall believe the others."""
        self._key = own.key

    def issue(self, name: str) -> Certificate:
        """A new certificate, for servers and for clients."""
        signed = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        return self._make(name, *signed, "-addext", "basicConstraints=critical,CA:FALSE", "-addext", _NAMES)

    def _make(self, name: str, *options: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", str(made.key))
        command = ["openssl", "req", "-x509", "-days", "2", "-subj", f"/CN={name}", *new_key, "-out", str(made.certificate), *options]
        subprocess.run(command, check=True, capture_output=True)
        return made
