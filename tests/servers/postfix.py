"""A Postfix instance on loopback that relays the mail of one domain to Kanal's receiver, and can send nothing elsewhere."""

import json
import os
import pwd
import signal
import subprocess
from pathlib import Path

from tests.servers.processes import Child, Server, ServerError, home_for, port_open

_SERVICES = """\
{port}    inet  n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
anvil     unix  - - n - 1 anvil
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""

# The master changes users while it starts, for which Linux takes its death signal away; the shell keeps its own and
# passes it on. On SIGTERM the master ends all its processes; the second wait is for that.
_RUN_MASTER = "trap 'kill $!' TERM; \"$@\" & wait $!; wait $!"


class Postfix(Server):
    """Takes mail for `domain` on its port, keeps it, and delivers it to `deliver_to_port` until that says 250 or 5xx.

    One recipient per delivery; another try every two to four seconds. Other domains are refused. Needs root.
    """

    start_seconds = 20.0

    def __init__(self, directory: Path, port: int | None, deliver_to_port: int, domain: str, believes: Path | None = None) -> None:
        """`believes` = deliver only over TLS, to a certificate for `localhost` that the authorities in this file vouch for."""
        super().__init__(directory, port)
        self.deliver_to_port = deliver_to_port
        self.domain = domain
        self.believes = believes

    def launch(self) -> Child:
        if os.geteuid() != 0:
            raise ServerError("Postfix can only be started by root")
        # Most of its processes run as user postfix, who must be able to come here.
        self._home = home_for("postfix", self.directory, "kanal-postfix-")
        self._write_config()
        self._make_queue()
        programs = Path(_command("postconf", "-h", "daemon_directory").strip())
        return Child(
            ["sh", "-c", _RUN_MASTER, "sh", str(programs / "master"), "-c", str(self._config)],
            self.directory / "postfix.log",
            death_signal=signal.SIGTERM,
        )

    def _make_queue(self) -> None:
        """Once per directory: Postfix takes two seconds to make and check its queue folders."""
        made = self._home / "queue-made"
        if not made.exists():
            _command("postfix", "-c", str(self._config), "check")
            made.touch()

    def ready(self) -> bool:
        return port_open(self.port)

    def queue_ids(self) -> list[str]:
        """The queue ids of the mails that were accepted and neither delivered nor returned yet, once it was started."""
        lines = _command("postqueue", "-c", str(self._config), "-j").splitlines()
        return [json.loads(line)["queue_id"] for line in lines]

    def log_text(self) -> str:
        """All that Postfix has logged of its mails."""
        log = self._home / "mail.log"
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def _config(self) -> Path:
        return self._home / "etc"

    def _write_config(self) -> None:
        account = pwd.getpwnam("postfix")
        for name in ("etc", "queue", "state"):
            (self._home / name).mkdir(exist_ok=True)
        os.chown(self._home / "state", account.pw_uid, account.pw_gid)
        settings = {**self._places(), **self._relaying(), **_MANNERS, **self._tls()}
        (self._config / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        (self._config / "master.cf").write_text(_SERVICES.format(port=self.port))

    def _places(self) -> dict[str, str]:
        return {
            "queue_directory": f"{self._home}/queue",
            "data_directory": f"{self._home}/state",
            "maillog_file": f"{self._home}/mail.log",
            "maillog_file_prefixes": str(self._home),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
        }

    def _tls(self) -> dict[str, str]:
        if self.believes is None:
            return {}
        return {"smtp_tls_security_level": "verify", "smtp_tls_CAfile": str(self.believes), "smtp_tls_verify_cert_match": "localhost"}

    def _relaying(self) -> dict[str, str]:
        return {
            "relay_domains": self.domain,
            "relay_recipient_maps": "",
            "transport_maps": f"inline:{{{self.domain}=smtp:[127.0.0.1]:{self.deliver_to_port}}}",
            # Nothing can leave the machine, bounces included.
            "default_transport": "error:5.1.2 no mail leaves this machine",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_recipient_restrictions": "reject_unauth_destination",
        }


_MANNERS = {
    "compatibility_level": "3.6",
    # Must differ from the receiver's own name, or Postfix sees a mail loop.
    "myhostname": "relay.invalid",
    "mydestination": "",
    "mynetworks": "127.0.0.1/32",
    "local_recipient_maps": "",
    "alias_maps": "",
    "alias_database": "",
    "smtp_destination_recipient_limit": "1",
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "smtp_tls_security_level": "none",
    "smtpd_peername_lookup": "no",
    # Test mails come by the hundred from one client.
    "smtpd_client_connection_count_limit": "0",
    "smtpd_error_sleep_time": "0",
    "message_size_limit": "52428800",
    "mailbox_size_limit": "0",
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "4s",
    "queue_run_delay": "1s",
}


def _command(*argv: str) -> str:
    path = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    result = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **path}, check=False)
    if result.returncode:
        raise ServerError(f"{argv[0]} failed\n{result.stdout}{result.stderr}")
    return result.stdout
