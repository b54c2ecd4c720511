"""Settings of a process, from the environment (``DESKLINE_…``) or files of secrets; everything explicit.

What the shop's managers set is configuration (``deskline.config``), not here: these are the operator's.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deskline.errors import UsageError

_PREFIX: Final = "DESKLINE_"
_KIND: Final = "(identity_card|bank_card|phone|address|email)"
_HOST: Final = r"(\[[0-9A-Fa-f:.]+\]|[^:,\[\]]+)(:\d{1,5})?"
_HOSTS: Final = re.compile(rf"({_HOST}(,{_HOST})*)?")
_MASKS: Final = f"^(none|{_KIND}(,{_KIND})*)$"


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets from ``DESKLINE_<NAME>_FILE``, the path of a file as orchestrators mount them. The variable itself wins."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{_PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path or field.annotation not in (SecretStr, SecretStr | None):
            return None, field_name, False
        try:
            secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise UsageError(f"{variable} names {path}, which cannot be read: {reason}") from None
        if not secret:
            raise UsageError(f"{variable} names {path}, which is empty")
        return secret, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: secret for name, secret in found.items() if secret is not None}


class ServiceSettings(BaseSettings):
    """One service process. Every field is also an environment variable: ``DESKLINE_`` and the name in capitals; every secret
    also a file, named by that variable with ``_FILE`` behind it.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    bootstrap_servers: str = "127.0.0.1:9092"
    """Kafka, ``host:port[,host:port]``."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: Path | None = None

    postgres_dsn: SecretStr = SecretStr("postgresql://127.0.0.1:5432/deskline")
    """A login that may take the role of the service (``SET ROLE deskline_<service>``)."""
    postgres_password: SecretStr | None = None
    """Of that login, where the DSN has none: so that the address may be seen and the password comes from a file."""

    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=100)] = ""
    """Before every topic and group name; two deployments on one broker differ in it."""

    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: a free port, written to the log."""
    instance: str = "1"
    """Names this instance in logs and client ids; never part of the group."""

    allowed_lateness_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """One value for the deployment (contract §5): how long a breach waits for records that are on their way."""
    config_lead_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """One value for the deployment (contract §3): a version is in force at the earliest this long after it is known."""

    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = 30.0
    """Kafka's: a member silent for so long loses its partitions. Above the longest pause of a healthy process."""
    static_membership: bool = False
    """Whether an instance is known to its group by its number (``SERVICE-INSTANCE``, which no two may share): it keeps its partitions
    over a restart that is shorter than the session, and nobody else's move. Its own wait meanwhile."""
    max_unit_records: Annotated[int, Field(ge=1, le=20_000)] = 2000
    """Records in one transaction when behind: more gains nothing measurable, less costs throughput."""
    unit_interval_ms: Annotated[float, Field(ge=0, le=1000)] = 16.0
    """Between the starts of two small units: what gathers meanwhile shares one transaction."""
    database_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Locks, statements and idle transactions: a frozen owner must not hold a lane for longer."""
    stall_s: Annotated[float, Field(gt=0)] = 60.0
    """Records are waiting and nothing moved for so long: exit with 1, so that the supervisor starts a new process."""
    drain_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a stopping or yielding instance may finish its unit and publish."""
    poison_limit: Annotated[int, Field(ge=1)] = 50
    """Records failed for good within one minute, together with a tenth of all, that stop the process."""

    shadow_retention_days: Annotated[int, Field(ge=1, le=366)] = 30
    """Recorded decisions of rules and policies in shadow are kept so long: above the longest trial and its report."""

    desktop_token: SecretStr | None = None
    """What the agents' desktop sends to autoreply's ``/knowledge``, as a bearer token; absent: it answers nobody."""
    metrics_token: SecretStr | None = None
    """What monitoring sends to ``/metrics``, as a bearer token; absent: whoever reaches the port is answered."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_mask: Annotated[str, Field(pattern=_MASKS)] = "identity_card,bank_card,phone,address,email"
    """What of a person is hidden in every line, separated by commas; ``none``: nothing. Logs have no customers' texts in the first
    place; this is for what stands in ids, and in the errors of libraries."""

    @field_validator("postgres_dsn")
    @classmethod
    def _is_an_address(cls, dsn: SecretStr) -> SecretStr:
        """Before a library sees it, whose error would quote a piece of a password that was not escaped."""
        try:
            parts = urlsplit(dsn.get_secret_value())
            fine = parts.scheme in {"postgresql", "postgres"} and _HOSTS.fullmatch(parts.netloc.rpartition("@")[2])
        except ValueError:
            fine = None
        if not fine:
            raise ValueError(
                "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE for PostgreSQL, and in the password %2F %23 %3F %25 %40 %5B "
                "for / # ? % @ ["
            )
        return dsn

    @property
    def postgres_options(self) -> dict[str, Any]:
        """``dsn`` and, where it has none, ``password``, for ``asyncpg.connect``."""
        dsn = self.postgres_dsn.get_secret_value()
        if self.postgres_password is None or urlsplit(dsn).password is not None:
            return {"dsn": dsn}
        return {"dsn": dsn, "password": self.postgres_password.get_secret_value()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _SecretFiles(settings_cls)
