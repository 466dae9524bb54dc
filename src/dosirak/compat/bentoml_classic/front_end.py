"""Recognises classic BentoML services and saved bundles."""

from __future__ import annotations

from pathlib import Path

from dosirak.errors import InvalidService
from dosirak.spec.service_spec import ServiceSpec

NAME = "bentoml_classic"


def recognises(candidate: object) -> bool:
    """Nothing yet."""
    return False


def spec_of(candidate: object, *, target: str) -> ServiceSpec:
    """Never called while nothing is recognised."""
    raise InvalidService(f"{target} is not a classic BentoML service.")


def recognises_directory(directory: Path) -> bool:
    """Nothing yet."""
    return False


def spec_of_directory(directory: Path) -> ServiceSpec:
    """Never called while nothing is recognised."""
    raise InvalidService(f"{directory.name} is not a classic BentoML bundle.")
