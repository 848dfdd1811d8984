"""Settings of the e-mail adapter."""

from typing import Literal

from pydantic import Field, FilePath

from kanal.errors import SetupError
from kanal.settings import Settings


class EmailSettings(Settings):
    """The SMTP receiver and the relay that takes answers."""

    email_address: str = Field(
        "lapor@localhost", description="The mailbox served; mail for other recipients gets 550.", pattern=r"^[^@\s]+@[^@\s]+$"
    )
    smtp_host: str = Field(
        "127.0.0.1", description="Address that the SMTP receiver listens on; a mail server stands between it and the Internet."
    )
    smtp_port: int = Field(2525, ge=0, le=65535, description="Port of the SMTP receiver.")
    smtp_connections: int = Field(200, ge=1, description="SMTP connections at once; for one more the oldest gets 421 and is closed.")
    smtp_connections_per_peer: int = Field(
        50, ge=1, description="SMTP connections at once from one address, further ones get 421. A mail server in front is one address."
    )
    smtp_mail_megabytes: int = Field(
        50,
        ge=26,
        description="Megabytes of mail in memory at once, received but not yet settled; what does not fit gets 452. "
        "Besides these, 64 KB of every mail are always taken.",
    )
    smtp_relay: str = Field("", description="`host:port` that takes answers; empty = answers are kept as .eml files in the outbox folder.")
    smtp_certificate: FilePath | None = Field(
        None, description="File (PEM) with the certificate of the SMTP receiver and its chain; with it STARTTLS is offered."
    )
    smtp_key: FilePath | None = Field(None, description="File (PEM) with the key of that certificate, without a password.")
    smtp_relay_tls: Literal["off", "opportunistic", "required"] = Field(
        "off",
        description="STARTTLS with the relay: `opportunistic` = if it is offered, whatever the certificate; `required` = always, and only "
        "with a certificate for the relay's name.",
    )
    smtp_relay_ca: FilePath | None = Field(
        None, description="File (PEM) with the authorities that vouch for the relay; none = the system's."
    )
    smtp_relay_user: str = Field("", description="User of the login to the relay; needs `KANAL_SMTP_RELAY_TLS=required`.")
    smtp_relay_password: str = Field("", description="Password of the login to the relay.")

    def refuse_halves(self) -> None:
        """*Raises:* SetupError when half of something is set, or a password would go out in clear."""
        if bool(self.smtp_certificate) != bool(self.smtp_key):
            raise SetupError("KANAL_SMTP_CERTIFICATE and KANAL_SMTP_KEY go together")
        if bool(self.smtp_relay_user) != bool(self.smtp_relay_password):
            raise SetupError("KANAL_SMTP_RELAY_USER and KANAL_SMTP_RELAY_PASSWORD go together")
        if self.smtp_relay_user and self.smtp_relay_tls != "required":
            raise SetupError("KANAL_SMTP_RELAY_PASSWORD would be sent in clear: set KANAL_SMTP_RELAY_TLS=required")
