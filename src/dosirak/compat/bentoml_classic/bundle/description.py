"""bentoml.yml: what a bundle says of itself. Written for new bundles, read from any of 0.13's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import yaml

from dosirak.compat.bentoml_classic.artifacts import ArtifactCollection
from dosirak.compat.bentoml_classic.artifacts.artifact import plain_metadata
from dosirak.compat.bentoml_classic.environment import BentoServiceEnv
from dosirak.compat.bentoml_classic.exceptions import BentoMLConfigException
from dosirak.compat.bentoml_classic.inference_api import InferenceAPI
from dosirak.compat.bentoml_classic.version import CLASSIC_VERSION

FILE_NAME = "bentoml.yml"
KIND = "BentoService"
MAX_BYTES = 16 * 2**20


class SavableService(Protocol):
    """What saving needs of a `BentoService`."""

    @property
    def name(self) -> str:
        """The service's name."""
        ...

    @property
    def version(self) -> str:
        """The version being saved."""
        ...

    @property
    def env(self) -> BentoServiceEnv:
        """What it needs to run."""
        ...

    @property
    def artifacts(self) -> ArtifactCollection:
        """What it carries."""
        ...

    @property
    def inference_apis(self) -> list[InferenceAPI]:
        """Its endpoints."""
        ...

    @property
    def web_static_content(self) -> str | None:
        """The directory of its web pages."""
        ...


@dataclass(frozen=True, slots=True)
class Description:
    """A read bentoml.yml.

    Attributes:
        values: the whole file.
        directory: where it was found.
    """

    values: Mapping[str, Any]
    directory: Path

    @property
    def _metadata(self) -> Mapping[str, Any]:
        return self.values["metadata"]

    @property
    def name(self) -> str:
        """The service's name."""
        return str(self._metadata["service_name"])

    @property
    def version(self) -> str:
        """The saved version."""
        return str(self._metadata["service_version"])

    @property
    def class_name(self) -> str:
        """The name of the class in its module."""
        return str(self._metadata.get("class_name", self.name))

    @property
    def module_name(self) -> str:
        """The dotted name of the service's module."""
        return str(self._metadata["module_name"])

    @property
    def created_at(self) -> str:
        """When it was saved, in UTC."""
        return str(self._metadata.get("created_at", ""))

    @property
    def labels(self) -> dict[str, str]:
        """The labels given to `save`."""
        return dict(self._metadata.get("labels") or {})

    @property
    def code_directory(self) -> Path:
        """Where the modules and artifacts are: one level down, but not in an installed bundle."""
        below = self.directory / self.name
        return below if below.is_dir() else self.directory

    @property
    def apis(self) -> list[Mapping[str, Any]]:
        """The endpoints as recorded."""
        return list(self.values.get("apis") or ())

    @property
    def artifacts(self) -> list[Mapping[str, Any]]:
        """The artifacts as recorded."""
        return list(self.values.get("artifacts") or ())


def describe(
    service: SavableService,
    *,
    class_name: str,
    module_name: str,
    module_file: str,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of a new bentoml.yml."""
    metadata: dict[str, Any] = {
        "created_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "service_name": service.name,
        "service_version": service.version,
        "class_name": class_name,
        "module_name": module_name,
        "module_file": module_file,
    }
    if labels:
        metadata["labels"] = dict(labels)
    return {
        "version": CLASSIC_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "env": service.env.to_dict(),
        "apis": list(_apis(service.inference_apis)),
        "artifacts": list(_artifacts(service.artifacts)),
    }


def _apis(apis: Iterable[InferenceAPI]) -> Iterable[dict[str, Any]]:
    for api in apis:
        described: dict[str, Any] = {
            "name": api.name,
            "docs": api.doc,
            "input_type": type(api.input_adapter).__name__,
            "output_type": type(api.output_adapter).__name__,
            "mb_max_batch_size": api.mb_max_batch_size,
            "mb_max_latency": api.mb_max_latency,
            "batch": api.batch,
            "route": api.route,
        }
        configs = {
            "input_config": api.input_adapter.config,
            "output_config": api.output_adapter.config,
        }
        yield described | {key: config for key, config in configs.items() if config}


def _artifacts(artifacts: ArtifactCollection) -> Iterable[dict[str, Any]]:
    for name, artifact in artifacts.items():
        described: dict[str, Any] = {
            "name": name,
            "artifact_type": type(artifact).__name__,
            "metadata": plain_metadata(artifact.metadata),
        }
        # Which of an artifact's formats was used, where it has several: pickle runs code.
        if saved := getattr(artifact, "saved_format", ""):
            described["format"] = saved
        if not artifact.is_ready:
            described["packed"] = False
        yield described


def description_text(values: Mapping[str, Any]) -> str:
    """Return a bentoml.yml as text.

    Raises:
        BentoMLConfigException: an adapter's config holds what YAML cannot (the author's fault).
    """
    try:
        return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise BentoMLConfigException(
            "bentoml.yml cannot hold an adapter's or artifact's configuration.",
            remedy="Use text, numbers, booleans, lists and dicts.",
        ) from error


def is_bundle(directory: Path) -> bool:
    """Whether a directory holds a bundle of 0.13's layout; reads no more than bentoml.yml."""
    try:
        return bool(read_description(directory))
    except BentoMLConfigException:
        return False


def read_description(directory: Path) -> Description:
    """Read a bundle's bentoml.yml.

    Raises:
        BentoMLConfigException: there is none, or it is not one of 0.13's.
    """
    path = directory / FILE_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _unreadable(directory, "bentoml.yml is too large")
        values: object = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise _unreadable(directory, "there is no readable bentoml.yml") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(directory, "bentoml.yml is not YAML") from error
    if not _is_classic(values):
        raise _unreadable(directory, "bentoml.yml does not describe a BentoService")
    return Description(cast(Mapping[str, Any], values), directory)


def _is_classic(values: object) -> bool:
    if not isinstance(values, dict):
        return False
    content = cast(dict[str, Any], values)
    metadata = content.get("metadata")
    needed = {"service_name", "service_version", "module_name", "module_file"}
    return (
        content.get("kind") == KIND
        and isinstance(metadata, dict)
        and needed <= set(cast(dict[str, Any], metadata))
    )


def _unreadable(directory: Path, reason: str) -> BentoMLConfigException:
    return BentoMLConfigException(
        f"{directory} is not a saved BentoService: {reason}.",
        remedy="Give the directory that save() returned.",
    )
