"""Settings of the e-mail adapter."""

from pydantic import Field

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
    smtp_relay: str = Field("", description="`host:port` that takes answers; empty = answers are kept as .eml files in the outbox folder.")
