"""What the environment says, read once at the door and passed on as a value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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
        """Read the process's environment variables."""
        home = os.environ.get("DOSIRAK_HOME") or _DEFAULT_HOME
        return cls(home=Path(home).expanduser().absolute())
