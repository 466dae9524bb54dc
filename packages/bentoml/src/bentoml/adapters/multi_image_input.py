"""Where 0.13 kept `MultiImageInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    MultiImageInput,
)

__all__ = [
    "MultiImageInput",
]
