"""Where 0.13 kept `BaseInputAdapter`."""

from dosirak.compat.bentoml_classic.adapters import (
    BaseInputAdapter,
)

__all__ = [
    "BaseInputAdapter",
]
