"""Where 0.13 kept `JsonOutput`."""

from dosirak.compat.bentoml_classic.adapters import (
    JsonOutput,
)

__all__ = [
    "JsonOutput",
]
