"""Where 0.13 kept `MultiFileInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    MultiFileInput,
)

__all__ = [
    "MultiFileInput",
]
