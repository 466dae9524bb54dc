"""What a service needs to run, as `@env` says it, and the three files a bundle keeps of it."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dosirak.bundles.distributions import InstalledDistributions
from dosirak.compat.bentoml_classic.exceptions import BentoMLConfigException

_log = logging.getLogger(__name__)


class BentoServiceEnv:
    """The environment of one service class.

    Args:
        pip_packages: requirements; one without a version is pinned to the installed one.
        pip_index_url: for pip's `--index-url`.
        pip_trusted_host: for pip's `--trusted-host`.
        pip_extra_index_url: for pip's `--extra-index-url`.
        infer_pip_packages: add and pin what the service's modules import.
        requirements_txt_file: a requirements file; then nothing else is added.
        conda_channels: for environment.yml.
        conda_override_channels: use only `conda_channels`.
        conda_overwrite_channels: the older name of `conda_override_channels`.
        conda_dependencies: for environment.yml.
        conda_env_yml_file: an environment.yml to begin with.
        setup_sh: a shell script, or its path, run while an image is built.
        docker_base_image: the image that the bundle's Dockerfile starts from.
        zipimport_archives: zip files of modules that travel with the bundle.

    Raises:
        BentoMLConfigException: a requirement or file is wrong (the author's fault).
    """

    def __init__(
        self,
        pip_packages: Sequence[str] | None = None,
        pip_index_url: str | None = None,
        pip_trusted_host: str | None = None,
        pip_extra_index_url: str | None = None,
        infer_pip_packages: bool = False,
        requirements_txt_file: str | None = None,
        conda_channels: Sequence[str] | None = None,
        conda_overwrite_channels: bool = False,
        conda_override_channels: bool = False,
        conda_dependencies: Sequence[str] | None = None,
        conda_env_yml_file: str | None = None,
        setup_sh: str | None = None,
        docker_base_image: str | None = None,
        zipimport_archives: Sequence[str] | None = None,
    ) -> None:
        self.infers = infer_pip_packages
        self.requirements_txt_file = requirements_txt_file
        self.docker_base_image = docker_base_image
        self.zipimport_archives = tuple(zipimport_archives or ())
        self.python_version = platform.python_version()
        self._pip_options = {
            "--index-url": pip_index_url,
            "--trusted-host": pip_trusted_host,
            "--extra-index-url": pip_extra_index_url,
        }
        self._conda_env_yml_file = conda_env_yml_file
        self._conda_channels = list(conda_channels or ())
        self._conda_only = conda_overwrite_channels or conda_override_channels
        self._conda_dependencies = list(conda_dependencies or ())
        self._setup_sh = setup_sh
        self._pip_packages: dict[str, Requirement] = {}
        self.add_pip_packages(pip_packages or ())

    def add_pip_packages(self, pip_packages: Iterable[str]) -> None:
        """Add requirements; one without a version does not replace one that has it."""
        for text in pip_packages:
            self.add_pip_package(text)

    def add_pip_package(self, pip_package: str) -> None:
        """Add one requirement.

        Raises:
            BentoMLConfigException: it is not a requirement (the author's fault).
        """
        try:
            requirement = Requirement(pip_package)
        except InvalidRequirement as error:
            raise BentoMLConfigException(
                f"{pip_package!r} is not a pip requirement.",
                remedy="Write it as NAME or NAME==VERSION.",
            ) from error
        pinned = _pinned(requirement)
        key = canonicalize_name(pinned.name)
        if key not in self._pip_packages or requirement.specifier or requirement.url:
            self._pip_packages[key] = pinned

    def add_inferred(self, requirements: Iterable[str]) -> None:
        """Add what was inferred from imports; the author's own requirements stay."""
        for text in requirements:
            requirement = Requirement(text)
            self._pip_packages.setdefault(canonicalize_name(requirement.name), requirement)

    def add_conda_dependencies(self, conda_dependencies: Iterable[str]) -> None:
        """Add conda packages."""
        self._conda_dependencies.extend(conda_dependencies)

    @property
    def pip_packages(self) -> list[str]:
        """The requirements, BentoML's own first."""
        ordered = sorted(self._pip_packages.items(), key=lambda item: item[0] != "bentoml")
        return [str(requirement) for _, requirement in ordered]

    def requirements_text(self) -> str:
        """Return the requirements.txt of the bundle."""
        if self.requirements_txt_file is not None:
            return _read(self.requirements_txt_file, "requirements_txt_file")
        options = [f"{name}={value}" for name, value in self._pip_options.items() if value]
        return "".join(f"{line}\n" for line in [*options, *self.pip_packages])

    def conda_environment(self) -> dict[str, Any]:
        """Return the environment.yml of the bundle.

        Raises:
            BentoMLConfigException: channels are to be overridden, but none is given.
        """
        described: dict[str, Any] = {"name": "bentoml-default-conda-env", "dependencies": []}
        if self._conda_env_yml_file is not None:
            described = yaml.safe_load(_read(self._conda_env_yml_file, "conda_env_yml_file")) or {}
        if self._conda_only and not self._conda_channels:
            raise BentoMLConfigException(
                "conda_override_channels is set, but conda_channels is not.",
                remedy="Name the channels.",
            )
        if self._conda_channels:
            only = ["nodefaults"] if self._conda_only else []
            described["channels"] = list(dict.fromkeys([*self._conda_channels, *only]))
        described["dependencies"] = [
            *self._conda_dependencies,
            *(described.get("dependencies") or []),
        ]
        return described

    def setup_text(self) -> str | None:
        """Return the setup.sh of the bundle, if there is one."""
        if self._setup_sh is None:
            return None
        # A script has line breaks or spaces long before it is too long for a file name.
        is_path = "\n" not in self._setup_sh and Path(self._setup_sh).is_file()
        return Path(self._setup_sh).read_text("utf-8") if is_path else self._setup_sh

    def to_dict(self) -> dict[str, Any]:
        """Return what bentoml.yml records."""
        described: dict[str, Any] = {}
        if (setup := self.setup_text()) is not None:
            described["setup_sh"] = setup
        if self.requirements_txt_file is not None:
            described["requirements_txt"] = self.requirements_text()
        else:
            described["pip_packages"] = self.pip_packages
        described["conda_env"] = self.conda_environment()
        described["python_version"] = self.python_version
        if self.docker_base_image is not None:
            described["docker_base_image"] = self.docker_base_image
        return described


def _pinned(requirement: Requirement) -> Requirement:
    if requirement.specifier or requirement.url:
        return requirement
    found = InstalledDistributions().providing_library(requirement.name)
    if found is None:
        _log.warning(
            "The requirement %r is not installed here and is not pinned.", str(requirement)
        )
        return requirement
    pinned = Requirement(found.pin)
    pinned.extras, pinned.marker = requirement.extras, requirement.marker
    return pinned


def _read(path: str, parameter: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise BentoMLConfigException(
            f"@env({parameter}={path!r}) cannot be read.", remedy="Correct the path."
        ) from error
