"""The class that classic services derive from."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from dosirak.compat.bentoml_classic.artifacts import (
    ARTIFACTS_FOLDER,
    ArtifactCollection,
    BentoServiceArtifact,
)
from dosirak.compat.bentoml_classic.bundle.repository import Repository, check_version
from dosirak.compat.bentoml_classic.bundle.staging import STAGING
from dosirak.compat.bentoml_classic.bundle.writing import WEB_FOLDER, write_bundle
from dosirak.compat.bentoml_classic.decorators import defined_apis
from dosirak.compat.bentoml_classic.dev_server import DevServer
from dosirak.compat.bentoml_classic.environment import BentoServiceEnv
from dosirak.compat.bentoml_classic.exceptions import BentoMLException, InvalidArgument, NotFound
from dosirak.compat.bentoml_classic.inference_api import InferenceAPI


class _OnClassAndInstance:
    """A read-only attribute that answers on the class and on its instances."""

    def __init__(self, read: Callable[[type], str]) -> None:
        self._read = read

    def __get__(self, instance: object | None, owner: type) -> str:
        return self._read(owner)


class _InstanceOnly:
    """A method that 0.13 had on the class too, long ago; now it says so."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, instance: object | None, owner: type) -> Callable[..., Any]:
        if instance is None:
            raise BentoMLException(
                f"{owner.__name__}.pack was called on the class.",
                remedy="Make an instance first: svc = MyService(); svc.pack(…).",
            )
        return self._method.__get__(instance, owner)


def _service_name(owner: type) -> str:
    name: str = getattr(owner, "_bento_service_name", None) or owner.__name__
    if not name.isidentifier():
        raise InvalidArgument(
            f"{name!r} cannot be the name of a service.", remedy="Use a Python identifier."
        )
    return name


class BentoService:
    """A classic service: artifacts, an environment and apis.

    Derive from it, decorate the class with `@env` and `@artifacts` and its methods with `@api`.
    """

    _bento_service_name: ClassVar[str | None] = None
    _declared_artifacts: ClassVar[Sequence[BentoServiceArtifact]] = ()
    _env_arguments: ClassVar[Mapping[str, Any]] = {}
    _version_major: ClassVar[int | None] = None
    _version_minor: ClassVar[int | None] = None
    _web_static_content: ClassVar[str | None] = None
    # Set by loading, on a class of which each load makes its own.
    _bento_service_bundle_path: ClassVar[str | None] = None
    _bento_service_bundle_version: ClassVar[str | None] = None
    _bento_service_never_packed: ClassVar[frozenset[str]] = frozenset()
    _bento_service_scope: ClassVar[AbstractContextManager[Any] | None] = None

    # For type checkers what it reads as, not what it is.
    name: str = cast(Any, _OnClassAndInstance(_service_name))

    def __init__(self) -> None:
        self._version: str | None = self._bento_service_bundle_version
        self._dev_server: DevServer | None = None
        self._env = BentoServiceEnv(**self._saved_environment())
        self._inference_apis = [
            InferenceAPI(definition, getattr(self, function_name))
            for function_name, definition in defined_apis(type(self))
        ]
        self._artifacts = ArtifactCollection.from_declared_artifact_list(self._declared_artifacts)
        if self._bento_service_bundle_path is not None:
            self._load_artifacts(Path(self._bento_service_bundle_path))

    def _saved_environment(self) -> dict[str, Any]:
        arguments = dict(self._env_arguments)
        if self._bento_service_bundle_path is not None and arguments.get("requirements_txt_file"):
            # The author's own file was only there when the service was saved.
            saved = Path(self._bento_service_bundle_path) / "requirements.txt"
            arguments["requirements_txt_file"] = str(saved)
        return arguments

    def _load_artifacts(self, bundle: Path) -> None:
        inside = bundle / self.name / ARTIFACTS_FOLDER
        folder = inside if inside.is_dir() else bundle / ARTIFACTS_FOLDER
        with self._bento_service_scope or nullcontext():
            for artifact in self._artifacts.values():
                if artifact.name not in self._bento_service_never_packed:
                    artifact.load(str(folder))

    @property
    def inference_apis(self) -> list[InferenceAPI]:
        """The service's endpoints."""
        return self._inference_apis

    def get_inference_api(self, api_name: str | None) -> InferenceAPI:
        """Return the api of this name, or the first.

        Raises:
            NotFound: there is none (the caller's fault).
        """
        for api in self._inference_apis:
            if api_name is None or api.name == api_name:
                return api
        raise NotFound(
            f"{self.name} has no api {api_name or ''!r}.",
            remedy=f"Its apis are: {', '.join(api.name for api in self._inference_apis)}.",
        )

    @property
    def artifacts(self) -> ArtifactCollection:
        """What the service carries, by name."""
        return self._artifacts

    @property
    def env(self) -> BentoServiceEnv:
        """What the service needs to run."""
        return self._env

    @property
    def web_static_content(self) -> str | None:
        """The directory of the service's web pages."""
        if self._web_static_content is None or self._bento_service_bundle_path is None:
            return self._web_static_content
        return str(Path(self._bento_service_bundle_path) / self.name / WEB_FOLDER)

    def _pack(self, name: str, *args: Any, **kwargs: Any) -> Self:
        """Give an artifact its object.

        Args:
            name: the artifact's name.
            *args: what the artifact's `pack` takes.
            **kwargs: what the artifact's `pack` takes, such as `metadata={…}`.

        Raises:
            NotFound: no such artifact is declared (the caller's fault).
            TypeError: the metadata is not a dict.
        """
        self._artifacts.get(name).pack(*args, **kwargs)
        return self

    pack = _InstanceOnly(_pack)

    def versioneer(self) -> str:
        """Return a new version: the local time and six characters by chance."""
        return f"{datetime.now():%Y%m%d%H%M%S}_{uuid.uuid4().hex[:6].upper()}"

    def set_version(self, version_str: str | None = None) -> str:
        """Set the version to save under, after the numbers that `@ver` gave.

        Raises:
            InvalidArgument: it cannot be a version (the caller's fault).
        """
        version = version_str or self.versioneer()
        if self._version_major is not None and self._version_minor is not None:
            version = f"{self._version_major}.{self._version_minor}.{version}"
        self._version = check_version(version)
        return self._version

    @property
    def version(self) -> str:
        """The version, generated when first asked for."""
        return self._version if self._version is not None else self.set_version()

    @property
    def tag(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"

    def save(
        self,
        yatai_url: str | None = None,
        version: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Save the service below `$BENTOML_HOME` and return the directory.

        Args:
            yatai_url: must be None; there is no Yatai server here.
            version: the version to save under; generated if None.
            labels: kept in bentoml.yml.

        Raises:
            InvalidArgument: an argument, the source or metadata cannot be saved.
            YataiRepositoryException: the version exists already (the caller's fault).
            StorageError: the disk refused; nothing was half written.
        """
        if yatai_url is not None:
            raise InvalidArgument(
                "There is no Yatai server to save to.", remedy="Leave yatai_url out."
            )
        if version is not None:
            self.set_version(version)
        target = Repository.from_environment().path_of(self.name, self.version)
        write_bundle(self, target, labels=labels)
        return str(target)

    def save_to_dir(self, path: str, version: str | None = None) -> None:
        """Save the service to a directory that is new or empty.

        Raises:
            InvalidArgument: the path is a URL, or the source or metadata cannot be saved.
            YataiRepositoryException: the directory is not empty (the caller's fault).
            StorageError: the disk refused; nothing was half written.
        """
        if "://" in str(path) or Path(path).name == STAGING:
            raise InvalidArgument(
                f"{path} is not a local directory.", remedy="Save locally, then copy it."
            )
        if version is not None:
            self.set_version(version)
        write_bundle(self, Path(path).absolute())

    def start_dev_server(
        self, port: int | None = None, enable_ngrok: bool = False, debug: bool = False
    ) -> None:
        """Serve the service in a process of its own until `stop_dev_server`.

        Args:
            port: 5000 if None.
            enable_ngrok: must be False; this opens no tunnels.
            debug: show the server's log on standard error.

        Raises:
            InvalidArgument: a tunnel was asked for.
            FailedPrecondition: the dev server runs already, or did not start.
        """
        if enable_ngrok:
            raise InvalidArgument(
                "The dev server opens no tunnels.", remedy="Run ngrok beside it: ngrok http 5000"
            )
        if self._dev_server is None:
            self._dev_server = DevServer()
        self._dev_server.start(self.save_to_dir, port=port or 5000, debug=debug)

    def stop_dev_server(self) -> None:
        """Stop the process that `start_dev_server` started."""
        if self._dev_server is not None:
            self._dev_server.stop()


def save(
    bento_service: BentoService,
    base_path: str | None = None,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> str:
    """Save a service; the older form of `BentoService.save`.

    Args:
        bento_service: the service.
        base_path: a repository other than `$BENTOML_HOME/repository`.
        version: the version to save under; generated if None.
        labels: kept in bentoml.yml.
    """
    if base_path is None:
        return bento_service.save(version=version, labels=labels)
    if version is not None:
        bento_service.set_version(version)
    target = Path(base_path) / bento_service.name / bento_service.version
    write_bundle(bento_service, target.absolute(), labels=labels)
    return str(target.absolute())


def save_to_dir(bento_service: BentoService, path: str, version: str | None = None) -> None:
    """Save a service to a directory that is new or empty."""
    bento_service.save_to_dir(path, version)
