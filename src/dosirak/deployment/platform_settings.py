"""How the platform of one home is set up: its addresses and who may come in.

Kept in a file beside the database, so that a control plane that is started by itself, or after the
machine was, is the one that was set up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dosirak.errors import FieldProblem, InvalidConfiguration
from dosirak.store.durability import replace_file

_FILE = "settings.json"


class PlatformSettings(BaseModel):
    """What `dosirak platform start` can be told.

    Attributes:
        host: where callers reach the deployments.
        port: likewise.
        control_host: where the control plane's API and console are.
        control_port: likewise.
        require_tokens: whether the control plane wants a token even from this machine.
        tls_certificate: a PEM file for the deployments' listener; with `tls_key`.
        tls_key: its key.
        database_url: PostgreSQL instead of the embedded database.
        router_threads: Envoy's worker threads; with more than one, a switch of revisions reaches
            them within a moment of each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8800, ge=1, le=65535)
    control_host: str = "127.0.0.1"
    control_port: int = Field(default=8801, ge=1, le=65535)
    require_tokens: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    database_url: str | None = None
    router_threads: int = Field(default=1, ge=1, le=256)

    @classmethod
    def read(cls, root: Path) -> Self:
        """Return what was written under `root`, or the defaults.

        Raises:
            InvalidConfiguration: the file is not as `write` writes it.
        """
        path = root / _FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            raise InvalidConfiguration(
                f"{path} cannot be used.",
                remedy="Mend it, or delete it and start the platform with the options you want.",
                fields=[
                    FieldProblem(".".join(map(str, one["loc"])), one["msg"])
                    for one in error.errors()
                ],
            ) from error

    def changed(self, given: Mapping[str, Any]) -> Self:
        """Return these settings with some of them replaced.

        Raises:
            InvalidConfiguration: one of them cannot be used; `fields` names it.
        """
        try:
            return type(self).model_validate({**self.model_dump(), **given})
        except ValidationError as error:
            raise InvalidConfiguration(
                "A setting of the platform cannot be used.",
                remedy="Correct it.",
                fields=[
                    FieldProblem(".".join(map(str, one["loc"])), one["msg"])
                    for one in error.errors()
                ],
            ) from error

    def write(self, root: Path) -> None:
        """Keep it for the next start: the old file or the new one, never half of it."""
        path = root / _FILE
        written = self.model_dump_json(indent=1).encode() + b"\n"
        replace_file(path, written, scratch=path.parent)
