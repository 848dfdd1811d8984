"""Settings that every service shares; each service adds its own in its `settings.py`. Environment only; secrets also from files.

`KANAL_X_FILE=/path` gives the value of `KANAL_X`, so that secrets can be mounted instead of being in the environment.
"""

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, FilePath, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from kanal.errors import SetupError

DEFAULT_PACK = "jakarta"
KAFKA_CLIENT = {
    "kafka_security_protocol": "security.protocol",
    "kafka_ca": "ssl.ca.location",
    "kafka_certificate": "ssl.certificate.location",
    "kafka_key": "ssl.key.location",
    "kafka_sasl_mechanism": "sasl.mechanism",
    "kafka_user": "sasl.username",
    "kafka_password": "sasl.password",
}
"""Setting → what librdkafka calls it."""

AnySettings = TypeVar("AnySettings", bound="EnvironmentSettings")


class FromFiles(PydanticBaseSettingsSource):
    """Reads `<PREFIX><FIELD>_FILE` for each field."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        name = f"{self.config.get('env_prefix', '')}{field_name}_FILE".upper()
        path = os.environ.get(name)
        try:
            content = Path(path).read_text().strip() if path else None
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"{name}: the file cannot be read ({type(error).__name__})") from None
        try:
            return self.prepare_field_value(field_name, field, content, self.field_is_complex(field)), field_name, False
        except ValueError:
            raise SetupError(f"{name}: is no JSON") from None

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class EnvironmentSettings(BaseSettings):
    """Values from the environment, then from the files that it names."""

    model_config = SettingsConfigDict(env_prefix="KANAL_", extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FromFiles(settings_cls)


class Settings(EnvironmentSettings):
    """What every service needs."""

    data: Path = Field(Path("data"), description="Directory of everything that must survive: journal, state, keys, attachments, spool.")
    journal: str = Field("sqlite", description="`sqlite` (embedded: one process) or `kafka://host:port[,host:port]`.")
    database_url: str = Field("", description="SQLAlchemy address of the state; empty = SQLite in the data directory.")
    pack: str = Field(DEFAULT_PACK, description="Name of a city pack that ships with Kanal, or the path of a directory with one.")
    keys: Path | None = Field(None, description="Directory of the keys; none = `keys` in the data directory.")
    http_host: str = Field("127.0.0.1", description="Address that HTTP listens on; `0.0.0.0` inside a container.")
    http_port: int = Field(8000, ge=0, le=65535, description="Port of HTTP: pages, API, webhooks, `/metrics`, `/healthz`, `/readyz`.")
    http_connections: int = Field(
        500, ge=1, description="HTTP connections at once; for one more the oldest is closed of those that have sent no whole request."
    )
    http_request_seconds: int = Field(
        30, ge=1, description="Seconds in which a request must have arrived, headers and body; so long a connection may be idle, too."
    )
    public_url: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="Address of the pages as citizens reach them; empty = `http://localhost:<http_port>`."
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR; anything else is INFO.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to speak to Kafka, in Kafka's words: `SSL` with TLS, `SASL_SSL` with TLS and a login."
    )
    kafka_ca: FilePath | None = Field(None, description="File (PEM) with the authorities that vouch for the brokers; none = the system's.")
    kafka_certificate: FilePath | None = Field(None, description="File (PEM) with our own certificate, if the brokers ask for one.")
    kafka_key: FilePath | None = Field(None, description="File (PEM) with the key of that certificate, without a password.")
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="How to log in to Kafka; `PLAIN` shows the brokers the password."
    )
    kafka_user: str = Field("", description="User of the login to Kafka.")
    kafka_password: str = Field("", description="Password of the login to Kafka.")
    kafka_options: dict[str, str] = Field(
        default_factory=dict, description="Further librdkafka settings as JSON, on all clients of Kafka; they go before the ones above."
    )

    @property
    def embedded(self) -> bool:
        """One process over the SQLite journal."""
        return self.journal == "sqlite"

    @property
    def keys_directory(self) -> Path:
        """Where the keys are."""
        return self.keys or self.data / "keys"

    @property
    def state_url(self) -> str:
        """Where the state is. *Raises:* SetupError when several processes would share an SQLite file."""
        if not self.database_url and not self.embedded:
            raise SetupError("KANAL_DATABASE_URL is needed with a Kafka journal: several processes share the state")
        return self.database_url or f"sqlite:///{self.data / 'state.db'}"

    @property
    def kafka_client(self) -> dict[str, str]:
        """The settings of librdkafka for every client of Kafka. *Raises:* SetupError when half of something is set."""
        with_login, with_tls = self.kafka_security_protocol.startswith("SASL"), self.kafka_security_protocol.endswith("SSL")
        if with_login != bool(self.kafka_user and self.kafka_password) or bool(self.kafka_user) != bool(self.kafka_password):
            raise SetupError("KANAL_KAFKA_USER and KANAL_KAFKA_PASSWORD go with KANAL_KAFKA_SECURITY_PROTOCOL SASL_SSL or SASL_PLAINTEXT")
        if bool(self.kafka_certificate) != bool(self.kafka_key):
            raise SetupError("KANAL_KAFKA_CERTIFICATE and KANAL_KAFKA_KEY go together")
        if (self.kafka_ca or self.kafka_key) and not with_tls:
            raise SetupError("KANAL_KAFKA_CA and KANAL_KAFKA_CERTIFICATE go with KANAL_KAFKA_SECURITY_PROTOCOL SSL or SASL_SSL")
        values = {option: str(value) for field, option in KAFKA_CLIENT.items() if (value := getattr(self, field))}
        return {option: value for option, value in values.items() if with_login or not option.startswith("sasl")} | self.kafka_options

    @property
    def page_url(self) -> str:
        """The base of links that citizens get."""
        return self.public_url.rstrip("/") or f"http://localhost:{self.http_port}"


def load_settings(kind: type[AnySettings], **values: Any) -> AnySettings:
    """The settings of a service. *Raises:* SetupError that names the variable and the rule, never the value."""
    try:
        return kind(**values)
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        wrong = [f"{prefix}{'.'.join(map(str, each['loc']))}".upper() + f": {each['msg']}" for each in error.errors()]
        raise SetupError("; ".join(wrong)) from None
    except SettingsError as error:  # its message names the field only
        field = str(error).partition('"')[2].partition('"')[0]
        raise SetupError(f"{kind.model_config.get('env_prefix', '')}{field}".upper() + ": is no JSON") from None
