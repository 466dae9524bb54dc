"""Where 0.13 kept `StringInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    StringInput,
)

__all__ = [
    "StringInput",
]
