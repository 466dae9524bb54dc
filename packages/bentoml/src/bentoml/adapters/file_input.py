"""Where 0.13 kept `FileInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    FileInput,
)

__all__ = [
    "FileInput",
]
