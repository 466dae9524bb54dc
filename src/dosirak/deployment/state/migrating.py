"""Bringing a database to the schema of this program, with Alembic, in one transaction.

A program that is killed in the middle has changed nothing: both databases roll back definitions of
tables as they do rows, and the next start migrates anew. A schema of a later program is refused.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from dosirak.deployment.state.tables import SCHEMA
from dosirak.errors import InvalidConfiguration

_SCRIPTS = "dosirak.deployment.state:migrations"


def found_schema(connection: Connection) -> str | None:
    """Return the schema that the database has; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def check_known(schema: str | None) -> None:
    """Check that this program knows the schema.

    Raises:
        InvalidConfiguration: a later program wrote it (the fault of who starts this one).
    """
    if schema is not None and schema not in known_schemas():
        raise InvalidConfiguration(
            f"The platform's database has the schema {schema}; this version of dosirak knows"
            f" schemas up to {SCHEMA}. Nothing has changed.",
            remedy="Upgrade dosirak to the version that wrote it, or name another DOSIRAK_HOME.",
        )


def migrate(connection: Connection) -> None:
    """Bring the database to this program's schema, within the connection's transaction."""
    configuration = _configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, SCHEMA)


def known_schemas() -> list[str]:
    """Return every schema that this program can read or migrate, the newest first."""
    scripts = ScriptDirectory.from_config(_configuration())
    return [script.revision for script in scripts.walk_revisions()]


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", _SCRIPTS)
    configuration.set_main_option("path_separator", "os")
    return configuration
