"""`bentoml.deployment`: BentoCloud's functions, arguments and answers.

arguments │ config_file │ config_dict ─▶ settings ─▶ dosirak.deployment ─▶ Deployment
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from dosirak import deployment
from dosirak.compat.bentoml_cloud.bentos import sealed_bento
from dosirak.compat.bentoml_cloud.clients import AsyncHTTPClient, SyncHTTPClient
from dosirak.deployment import Deployment as NativeDeployment
from dosirak.deployment.configuration_file import (
    WrittenConfiguration,
    read_configuration,
    read_configuration_file,
)
from dosirak.deployment.views import cloud_view
from dosirak.errors import DeploymentNotFound, InvalidConfiguration


class Deployment:
    """A deployment, with the methods that BentoCloud's has.

    Attributes:
        native: the same as dosirak has it.
    """

    def __init__(self, native: NativeDeployment) -> None:
        self.native = native

    def __repr__(self) -> str:
        return f"<Deployment {self.name} ({self.native.view.status.status.value})>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.native.name

    @property
    def cluster(self) -> str:
        """Where it runs: on this machine."""
        return "local"

    def to_dict(self) -> dict[str, Any]:
        """Return it with the keys that `bentoml deployment get` prints."""
        return cloud_view(self.native.view, self.native.platform_url)

    def get_config(self, refetch: bool = True) -> dict[str, Any]:
        """Return its configuration."""
        return self._looked(refetch).to_dict()["config"]

    def get_bento(self, refetch: bool = True) -> str:
        """Return the bento that has the traffic."""
        return self._looked(refetch).native.bundle

    def get_status(self, refetch: bool = True) -> dict[str, Any]:
        """Return how it is: `status`, `created_at`, `updated_at`."""
        return self._looked(refetch).to_dict()["status"]

    def get_endpoint_urls(self, refetch: bool = True) -> builtins.list[str]:
        """Return where callers reach it."""
        return [*self._looked(refetch).native.endpoint_urls]

    def get_client(self, token: str | None = None) -> SyncHTTPClient:
        """Return a client of the service."""
        return SyncHTTPClient(self.native.url, token=token)

    def get_async_client(self, token: str | None = None) -> AsyncHTTPClient:
        """Return an asynchronous client of the service."""
        return AsyncHTTPClient(self.native.url, token=token)

    def wait_until_ready(self, timeout: float = 3600.0) -> None:
        """Wait until it serves.

        Raises:
            RolloutFailed: it cannot be brought to serve (the service's fault).
            DeadlineExceeded: it takes longer.
        """
        self.native.wait(timeout)

    def _looked(self, refetch: bool) -> Self:
        if refetch:
            self.native.refresh()
        return self


def create(
    bento: str | Path | None = None,
    name: str | None = None,
    *,
    path_context: str | Path | None = None,
    scaling_min: int | None = None,
    scaling_max: int | None = None,
    access_authorization: bool | None = None,
    strategy: str | None = None,
    envs: Sequence[Mapping[str, str]] | None = None,
    labels: Mapping[str, str] | None = None,
    secrets: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    config_file: str | Path | None = None,
) -> Deployment:
    """Make a deployment of a bento, or of a project's directory."""
    written = _written(
        config_dict,
        config_file,
        _arguments(scaling_min, scaling_max, access_authorization, strategy, envs, labels, secrets),
    )
    reference = sealed_bento(_place(bento or written.bundle or ".", path_context))
    named = name or written.name or reference.partition(":")[0].replace("_", "-")
    return Deployment(deployment.create(named, reference, written.settings))


def get(name: str) -> Deployment:
    """Return a deployment."""
    return Deployment(deployment.get(name))


def list() -> builtins.list[Deployment]:  # noqa: A001 - read as `deployment.list`
    """Return all deployments, by name."""
    return [Deployment(found) for found in deployment.list()]


def update(
    name: str | None = None,
    bento: str | Path | None = None,
    *,
    path_context: str | Path | None = None,
    scaling_min: int | None = None,
    scaling_max: int | None = None,
    access_authorization: bool | None = None,
    strategy: str | None = None,
    envs: Sequence[Mapping[str, str]] | None = None,
    labels: Mapping[str, str] | None = None,
    secrets: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    config_file: str | Path | None = None,
) -> Deployment:
    """Give a deployment another bento, or some other settings; the rest stays."""
    written = _written(
        config_dict,
        config_file,
        _arguments(scaling_min, scaling_max, access_authorization, strategy, envs, labels, secrets),
    )
    found = deployment.get(_named(name, written), client=deployment.connect())
    wanted = bento or written.bundle
    reference = sealed_bento(_place(wanted, path_context)) if wanted else None
    return Deployment(found.update(reference, written.settings))


def apply(
    name: str | None = None,
    bento: str | Path | None = None,
    *,
    path_context: str | Path | None = None,
    config_dict: Mapping[str, Any] | None = None,
    config_file: str | Path | None = None,
) -> Deployment:
    """Make a deployment be what a configuration says, whether there is one or not."""
    written = _written(config_dict, config_file, {})
    named = _named(name, written)
    wanted = bento or written.bundle
    reference = sealed_bento(_place(wanted, path_context)) if wanted else _served(named)
    return Deployment(deployment.apply(named, reference, written.settings))


def start(name: str) -> Deployment:
    """Bring a terminated deployment back."""
    return Deployment(deployment.start(name))


def terminate(name: str, wait: bool = False) -> Deployment:
    """End a deployment's replicas and keep everything else."""
    found = deployment.terminate(name)
    return Deployment(found.wait() if wait else found)


def delete(name: str) -> None:
    """End a deployment and forget it."""
    deployment.delete(name)


def _arguments(
    scaling_min: int | None,
    scaling_max: int | None,
    access_authorization: bool | None,
    strategy: str | None,
    envs: Sequence[Mapping[str, str]] | None,
    labels: Mapping[str, str] | None,
    secrets: Sequence[str] | None,
) -> dict[str, Any]:
    """Return arguments as a configuration of BentoCloud says them."""
    scaling = {"min_replicas": scaling_min, "max_replicas": scaling_max}
    scaling = {key: value for key, value in scaling.items() if value is not None}
    service: dict[str, Any] = {"scaling": scaling} if scaling else {}
    if strategy is not None:
        service["deployment_strategy"] = strategy
    said = {
        "access_authorization": access_authorization,
        "envs": None if envs is None else [dict(each) for each in envs],
        "labels": None if labels is None else dict(labels),
        "secrets": None if secrets is None else [*secrets],
        "services": {"service": service} if service else None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _written(
    config_dict: Mapping[str, Any] | None,
    config_file: str | Path | None,
    arguments: Mapping[str, Any],
) -> WrittenConfiguration:
    if config_dict is not None and config_file is not None:
        raise InvalidConfiguration(
            "config_dict and config_file were both given.", remedy="Give one of them."
        )
    given = _read(arguments)
    if config_file is not None:
        written = read_configuration_file(Path(config_file))
    else:
        written = _read(config_dict or {})
    settings = {**written.settings, **given.settings}
    for key in ("scaling", "environment", "labels"):
        if key in written.settings and key in given.settings:
            settings[key] = {**written.settings[key], **given.settings[key]}
    return WrittenConfiguration(written.name, written.bundle, "", settings, written.warnings)


def _read(said: Mapping[str, Any]) -> WrittenConfiguration:
    return read_configuration(json.dumps(dict(said)).encode())


def _place(bento: str | Path, path_context: str | Path | None) -> str | Path:
    """Return a directory below the one that it is told from."""
    if path_context is None or not (Path(path_context) / bento).is_dir():
        return bento
    return Path(path_context) / bento


def _named(name: str | None, written: WrittenConfiguration) -> str:
    if not (name or written.name):
        raise DeploymentNotFound("The deployment has no name.", remedy="Give it.")
    return name or written.name


def _served(name: str) -> str:
    return deployment.get(name, client=deployment.connect()).bundle
