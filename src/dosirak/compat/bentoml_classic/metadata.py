"""What `bentoml info`, `bentoml get` and `/metadata` say of a saved service, under 0.13's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dosirak.compat.bentoml_classic.bundle.description import Description

_API_KEYS = {
    "name": "name",
    "input_type": "inputType",
    "docs": "docs",
    "output_type": "outputType",
    "mb_max_latency": "mbMaxLatency",
    "mb_max_batch_size": "mbMaxBatchSize",
    "batch": "batch",
    "route": "route",
    "input_config": "inputConfig",
    "output_config": "outputConfig",
}
_ENVIRONMENT_KEYS = {
    "setup_sh": "setupSh",
    "pip_packages": "pipPackages",
    "requirements_txt": "requirementsTxt",
    "python_version": "pythonVersion",
    "docker_base_image": "dockerBaseImage",
}
_ARTIFACT_KEYS = {"name": "name", "artifact_type": "artifactType", "metadata": "metadata"}


def service_metadata(description: Description) -> dict[str, Any]:
    """Return the description as JSON values."""
    environment = description.values.get("env") or {}
    described: dict[str, Any] = {
        "name": description.name,
        "version": description.version,
        "createdAt": _time(description.created_at),
        "env": _renamed(environment, _ENVIRONMENT_KEYS),
        "artifacts": [_renamed(artifact, _ARTIFACT_KEYS) for artifact in description.artifacts],
        "apis": [_renamed(api, _API_KEYS) for api in description.apis],
    }
    if "conda_env" in environment:
        described["env"]["condaEnv"] = yaml.safe_dump(environment["conda_env"], sort_keys=False)
    if description.labels:
        described["labels"] = description.labels
    return described


def bento_metadata(description: Description) -> dict[str, Any]:
    """Return the description with its place, as `bentoml get NAME:VERSION` prints it."""
    return {
        "name": description.name,
        "version": description.version,
        "uri": {"type": "LOCAL", "uri": str(description.directory)},
        "bentoServiceMetadata": service_metadata(description),
    }


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {new: values[old] for old, new in names.items() if values.get(old) not in (None, {}, "")}


def _time(created_at: str) -> str:
    return created_at.replace(" ", "T", 1) + "Z" if created_at else ""
