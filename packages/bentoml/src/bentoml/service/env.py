"""Where 0.13 kept `BentoServiceEnv`."""

from dosirak.compat.bentoml_classic.environment import (
    BentoServiceEnv,
)

__all__ = [
    "BentoServiceEnv",
]
