"""Settings that every service shares; each service adds its own in its `settings.py`. Environment only; secrets also from files.

`KANAL_X_FILE=/path` gives the value of `KANAL_X`, so that secrets can be mounted instead of being in the environment.
"""

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from kanal.errors import SetupError

DEFAULT_PACK = "jakarta"
AnySettings = TypeVar("AnySettings", bound="EnvironmentSettings")


class FromFiles(PydanticBaseSettingsSource):
    """Reads `<PREFIX><FIELD>_FILE` for each field."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        name = f"{self.config.get('env_prefix', '')}{field_name}_FILE".upper()
        path = os.environ.get(name)
        content = Path(path).read_text().strip() if path else None
        return self.prepare_field_value(field_name, field, content, self.field_is_complex(field)), field_name, False

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
    public_url: str = Field("", description="Address of the pages as citizens reach them; empty = `http://localhost:<http_port>`.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR; anything else is INFO.")
    kafka_options: dict[str, str] = Field(
        default_factory=dict, description="Further librdkafka settings as JSON, for TLS and SASL, on all clients of Kafka."
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
    except OSError as error:
        raise SetupError(f"a file named by a setting ending in _FILE cannot be read (errno {error.errno})") from None
