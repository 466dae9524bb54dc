"""Where 0.13 kept `JsonInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    JsonInput,
)

__all__ = [
    "JsonInput",
]
