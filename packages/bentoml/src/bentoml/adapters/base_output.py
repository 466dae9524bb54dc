"""Where 0.13 kept `BaseOutputAdapter`."""

from dosirak.compat.bentoml_classic.adapters import (
    BaseOutputAdapter,
)

__all__ = [
    "BaseOutputAdapter",
]
