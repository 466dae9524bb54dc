"""Seal a service: `build` from a project's directory, `save` from a live object.

Both decide what is wanted and where the code stands; `sealing` does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.bundles.origin import CodeOrigin, origin_of, origin_of_target
from dosirak.bundles.project import BuildConfiguration, read_configuration, service_target
from dosirak.bundles.report import Report, ignore
from dosirak.bundles.saved import Bundle
from dosirak.bundles.sealing import Wanted, seal
from dosirak.errors import NotFound, UsageError
from dosirak.models.json_values import json_object
from dosirak.naming import check_name, check_version
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import Store, default_store
from dosirak.store.references import check_labels


def build(
    directory: str | Path = ".",
    *,
    target: str | None = None,
    name: str | None = None,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    store: Store | None = None,
    report: Report | None = None,
) -> Bundle:
    """Seal the service of a project.

    Args:
        directory: the project's.
        target: `module:Class`, `file.py` or `file.py:Class`; what the project's configuration says
            when None, else `service.py`.
        name: the bundle's name; the configuration's or the service's own when None.
        version: generated when None, later than all before.
        labels: put on the bundle, beside those of the service and of the configuration.
        metadata: what people should know of the bundle, JSON values.
        store: None takes the store that the environment names.
        report: receives each `BuildEvent`.

    Raises:
        NotFound: there is no such directory or service.
        InvalidConfiguration: the configuration is wrong.
        InvalidService: the service cannot be sealed as written.
        UsageError: an argument is of no use, or a file cannot travel.
        ModelNotFound: a model that it needs is not in the store.
        Conflict: a file changed meanwhile, or a model no longer answers its golden examples.
        AlreadyExists: the version exists with other content.
        StorageError: the disk failed; nothing was half written.
    """
    root = _project_directory(directory)
    if target is not None:
        _check_target(target)
    configuration = read_configuration(root)
    wanted = _wanted(
        configuration,
        name=name,
        version=version,
        labels=labels,
        metadata=metadata,
        store=store,
        report=report,
    )
    origin = origin_of_target(root, target or service_target(root, configuration))
    return seal(origin, wanted, None)


def save(
    spec: ServiceSpec,
    *,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    store: Store | None = None,
    report: Report | None = None,
) -> Bundle:
    """Seal a service that lives in this process; see `build`.

    Raises:
        InvalidService: it was not defined in a file that can be imported (the author's fault).
        And what `build` raises.
    """
    origin = origin_of(spec, report or ignore) if spec.target else CodeOrigin.nowhere()
    configuration = read_configuration(origin.root) if origin.is_project else BuildConfiguration()
    wanted = _wanted(
        configuration,
        name=None,
        version=version,
        labels=labels,
        metadata=metadata,
        store=store,
        report=report,
    )
    return seal(origin, wanted, spec)


def _wanted(
    configuration: BuildConfiguration,
    *,
    name: str | None,
    version: str | None,
    labels: Mapping[str, str] | None,
    metadata: Mapping[str, Any] | None,
    store: Store | None,
    report: Report | None,
) -> Wanted:
    if name is not None:
        check_name(name)
    if version is not None:
        check_version(version)
    check_labels({} if labels is None else labels)
    return Wanted(
        configuration=configuration,
        name=name or configuration.name,
        version=version,
        labels={**configuration.labels, **(labels or {})},
        metadata=json_object(
            {**configuration.metadata, **json_object(metadata, "metadata")}, "metadata"
        ),
        store=store or default_store(),
        report=report or ignore,
    )


def _check_target(target: object) -> None:
    if not isinstance(target, str) or "\0" in target:
        raise UsageError(
            f"{target!r} names no service.", remedy="Write module:Class, file.py or file.py:Class."
        )


def _project_directory(directory: object) -> Path:
    if not isinstance(directory, str | Path):
        raise UsageError(
            f"{directory!r} is no directory.", remedy="Give the path of the project's directory."
        )
    directory = Path(directory)
    if not directory.is_dir():
        raise NotFound(f"There is no directory {directory}.", remedy="Check the path.")
    return directory.resolve()
