"""Writes a service with its artifacts, code and environment in 0.13's layout, all at once."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from dosirak.compat.bentoml_classic.bundle import files
from dosirak.compat.bentoml_classic.bundle.code import ServiceCode, collect_code
from dosirak.compat.bentoml_classic.bundle.description import (
    FILE_NAME,
    SavableService,
    describe,
    description_text,
)
from dosirak.compat.bentoml_classic.bundle.staging import create_directory
from dosirak.compat.bentoml_classic.exceptions import BentoMLConfigException
from dosirak.compat.bentoml_classic.open_api import open_api_document
from dosirak.compat.bentoml_classic.version import own_requirements
from dosirak.store.failures import translated

_log = logging.getLogger(__name__)

WEB_FOLDER = "web_static_content"
ZIP_FOLDER = "zipimports"


def write_bundle(
    service: SavableService, target: Path, *, labels: Mapping[str, str] | None = None
) -> None:
    """Write the service to the directory `target`, which is new or empty.

    Raises:
        YataiRepositoryException: there is something at `target` (the caller's fault).
        InvalidArgument: the service's source or metadata cannot be saved (the author's fault).
        StorageError: the disk refused; nothing was half written.
    """
    for artifact in service.artifacts.values():
        if not artifact.is_ready:
            _log.warning("The artifact %r was never packed.", artifact.name)
    # It takes a temporary directory, whose disk may be full by itself.
    with translated("Collecting the service's code", target):
        code = collect_code(type(service))
    _complete_environment(service, code)

    def fill(directory: Path) -> None:
        _write_package(service, code, directory / service.name)
        _write_around(service, code, directory, labels or {})

    create_directory(target, fill)


def _complete_environment(service: SavableService, code: ServiceCode) -> None:
    env = service.env
    for api in service.inference_apis:
        env.add_pip_packages(api.input_adapter.pip_dependencies)
        env.add_pip_packages(api.output_adapter.pip_dependencies)
    for artifact in service.artifacts.values():
        artifact.set_dependencies(env)
    if env.infers:
        env.add_inferred(code.requirements)
    env.add_pip_packages(own_requirements())


def _write_package(service: SavableService, code: ServiceCode, package: Path) -> None:
    package.mkdir()
    service.artifacts.save(str(package))
    (package / "artifacts" / "__init__.py").touch()
    for name, content in code.files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    door = files.package_door(service.name, service.version)
    (package / "__init__.py").write_text(door, "utf-8")
    if service.web_static_content:
        shutil.copytree(
            _existing(service.web_static_content, "@web_static_content"), package / WEB_FOLDER
        )
    for archive in service.env.zipimport_archives:
        (package / ZIP_FOLDER).mkdir(exist_ok=True)
        shutil.copy2(_existing(archive, "@env(zipimport_archives=…)"), package / ZIP_FOLDER)


def _existing(path: str, where: str) -> Path:
    found = Path(path)
    if not found.exists():
        raise BentoMLConfigException(
            f"{where} names {path!r}, which does not exist.",
            remedy="Give a path relative to the current directory.",
        )
    return found


def _write_around(
    service: SavableService, code: ServiceCode, directory: Path, labels: Mapping[str, str]
) -> None:
    values = describe(
        service,
        class_name=code.class_name,
        module_name=code.module_name,
        module_file=code.module_file,
        labels=labels,
    )
    description = description_text(values)
    setup = service.env.setup_text()
    about = type(service).__doc__ or ""
    texts = {
        FILE_NAME: description,
        # Again beside the code, where an installed bundle looks for it.
        f"{service.name}/{FILE_NAME}": description,
        "README.md": files.readme(service.name, service.version, about),
        "requirements.txt": service.env.requirements_text(),
        "environment.yml": yaml.safe_dump(service.env.conda_environment(), sort_keys=False),
        "python_version": service.env.python_version,
        "setup.py": files.setup_script(service.name, service.version),
        "MANIFEST.in": files.manifest_in(service.name),
        "Dockerfile": files.dockerfile(
            image=service.env.docker_base_image,
            python=service.env.python_version,
            has_setup=setup is not None,
        ),
        "docs.json": json.dumps(open_api_document(service), indent=2),
    }
    if setup is not None:
        texts["setup.sh"] = setup
    for name, text in texts.items():
        (directory / name).write_text(text, "utf-8")
