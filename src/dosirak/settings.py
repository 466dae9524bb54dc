"""What the environment says, read once at the door and passed on as a value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dosirak.errors import InvalidConfiguration

_DEFAULT_HOME = "~/.dosirak"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a person may set for the whole of dosirak.

    Attributes:
        home: where the store and other state live (`DOSIRAK_HOME`, default `~/.dosirak`).
    """

    home: Path

    @classmethod
    def from_environment(cls) -> Self:
        """Read the process's environment variables.

        Raises:
            InvalidConfiguration: `DOSIRAK_HOME` names a user that this system does not know.
        """
        home = os.environ.get("DOSIRAK_HOME") or _DEFAULT_HOME
        try:
            return cls(home=Path(home).expanduser().absolute())
        except RuntimeError as error:
            raise InvalidConfiguration(
                f"DOSIRAK_HOME = {home!r} cannot be found: its user has no home directory.",
                remedy="Set DOSIRAK_HOME to the path of a directory.",
            ) from error
