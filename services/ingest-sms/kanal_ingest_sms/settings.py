"""Settings of the SMS adapter: one set per gateway of the pack, `KANAL_SMS_<GATEWAY>_…`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from kanal.settings import EnvironmentSettings, load_settings


class SmsGatewaySettings(EnvironmentSettings):
    """One gateway; the variables carry its name, as `KANAL_SMS_MAIN_SECRET` for the gateway `main`."""

    model_config = SettingsConfigDict(env_prefix="KANAL_SMS_MAIN_", extra="ignore", frozen=True)

    secret: str = Field("", description="Shared secret that signs both directions; in embedded mode one is made at the first start.")
    send_url: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description='Where answers are posted as JSON {"id","to","text"}; empty = files in the outbox folder.',
    )


def gateway_settings(gateway: str) -> SmsGatewaySettings:
    """The settings of a gateway. *Raises:* SetupError."""
    prefix = f"KANAL_SMS_{gateway.upper().replace('-', '_')}_"
    named = type(
        "NamedGatewaySettings",
        (SmsGatewaySettings,),
        {"model_config": SettingsConfigDict(env_prefix=prefix, extra="ignore", frozen=True), "__module__": __name__},
    )
    return load_settings(named)


def secret_file(keys: Path, gateway: str) -> Path:
    """Where the secret of a gateway lies that was made at the first start."""
    return keys / f"sms-{gateway}.secret"
