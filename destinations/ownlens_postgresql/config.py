"""How to reach PostgreSQL, and what a contract may say about its table there."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from ownlens_plugins.api import DestinationOptions, StrictModel
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.contracts.rules import name_problem

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class OnConflict(StrEnum):
    """What happens to a staged row whose key the table already holds."""

    UPDATE = "update"
    SKIP = "skip"
    ERROR = "error"


class PostgreSQLConfig(StrictModel):
    """Where the database is and how patient to be. All timeouts are whole seconds."""

    host: str = Field(default="localhost", min_length=1, description="A host name, or the directory of a unix socket.")
    port: int = Field(default=5432, ge=1, le=65535)
    database: str = Field(min_length=1)
    user: str = Field(min_length=1)
    password: SecretStr | None = None
    db_schema: str = Field(default="public", alias="schema", description="Schema that holds the loaded tables.")
    ledger_schema: str = Field(default="ownlens", description="Schema that holds the ledger and the quarantine.")
    sslmode: SslMode | None = Field(
        default=None, description="libpq's word; verify-full when absent, prefer for a socket or this machine."
    )
    sslrootcert: str | None = Field(default=None, description="Certificates to trust; the system's when absent.")
    connect_timeout: int = Field(default=10, ge=2, description="Waiting for a connection.")
    statement_timeout: int = Field(default=3600, ge=1, description="The longest that one statement may run.")
    lock_timeout: int = Field(default=60, ge=1, description="Waiting for another load of the same table.")
    tcp_user_timeout: int = Field(default=30, ge=1, description="Waiting for the network to deliver.")
    answer_timeout: int = Field(default=60, ge=1, description="Waiting for the answer to COMMIT.")

    @field_validator("db_schema", "ledger_schema")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(f"the name {problem}")
        return name

    @field_validator("host", "database", "user")
    @classmethod
    def _no_nul(cls, text: str) -> str:
        if "\0" in text:
            raise ValueError("holds a NUL character")
        return text

    @model_validator(mode="after")
    def _schemas_differ(self) -> Self:
        if self.db_schema == self.ledger_schema:
            raise ValueError("schema and ledger_schema must differ, or a table could be named like the ledger")
        return self

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def place(self) -> str:
        """The server and database for messages; never the user's secret."""
        return f"{self.host}:{self.port}/{self.database}"

    @property
    def tls(self) -> SslMode:
        """The sslmode in force: plaintext needs a word in the profile unless the server is this machine."""
        if self.sslmode is not None:
            return self.sslmode
        return "prefer" if self.is_socket or _is_loopback(self.host) else "verify-full"

    @property
    def connection_parameters(self) -> dict[str, str]:
        """The libpq parameters that are neither an address nor a secret."""
        parameters = {
            "sslmode": self.tls,
            "connect_timeout": str(self.connect_timeout),
            "tcp_user_timeout": str(self.tcp_user_timeout * 1000),
            "keepalives_idle": str(self.tcp_user_timeout),
            "application_name": "ownlens",
            "client_encoding": "UTF8",
            # From the first statement on, which is the driver's own: no object of another schema stands in for one of
            # the catalogue, and a policy that would hide rows is an error.
            "options": "-c search_path=pg_catalog,pg_temp -c row_security=off",
        }
        if root := self.sslrootcert or ("system" if self.tls == "verify-full" else None):
            parameters["sslrootcert"] = root
        return parameters


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PostgreSQLOptions(DestinationOptions):
    """A contract's `destinations.postgresql` block."""

    on_conflict: OnConflict | None = Field(
        default=None, description="When the table already holds a row's key; update for upsert, error for append."
    )
    foreign_keys: Literal["enforce", "ignore"] = Field(
        default="enforce", description="Whether references become constraints and rows without parents wait aside."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.strategy is Strategy.REPLACE_PARTITION:
            raise ValueError("postgresql cannot replace partitions; use strategy: upsert or overwrite")
        return self

    @property
    def conflict(self) -> OnConflict:
        """The rule in force for append and upsert."""
        if self.on_conflict is not None:
            return self.on_conflict
        return OnConflict.ERROR if self.strategy is Strategy.APPEND else OnConflict.UPDATE

    @property
    def enforces_references(self) -> bool:
        return self.foreign_keys == "enforce"
