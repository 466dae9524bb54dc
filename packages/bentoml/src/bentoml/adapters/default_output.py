"""Where 0.13 kept `DefaultOutput`."""

from dosirak.compat.bentoml_classic.adapters import (
    DefaultOutput,
)

__all__ = [
    "DefaultOutput",
]
