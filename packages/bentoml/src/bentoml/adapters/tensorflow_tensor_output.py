"""Where 0.13 kept `TfTensorOutput`."""

from dosirak.compat.bentoml_classic.adapters import (
    TfTensorOutput,
)

__all__ = [
    "TfTensorOutput",
]
