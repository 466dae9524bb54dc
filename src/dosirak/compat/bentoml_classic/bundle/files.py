"""The text of the files around a bundle's code: setup.py, Dockerfile, README, package door."""

from __future__ import annotations

import json

PACKAGE_DOOR = '''\
"""{name} as an installed package: `{name}.load()` returns the service."""

from pathlib import Path

from dosirak.compat.bentoml_classic.bundle import loading
from dosirak.compat.bentoml_classic.cli import service_command

__version__ = {version!r}

_HERE = Path(__file__).resolve().parent


def load():
    """Return the service, with its artifacts."""
    return loading.load_from_dir(_HERE)


def cli():
    """Run the command line of this one service."""
    service_command(_HERE)()


def __getattr__(name):
    if name == {name!r}:
        return loading.load_service_class(_HERE)
    raise AttributeError(name)


__all__ = ["__version__", "cli", "load"]
'''

SETUP = '''\
"""Makes the bundle a package that pip can install."""

from pathlib import Path

from setuptools import setup

_HERE = Path(__file__).resolve().parent
_NAME = {name}
_LINES = (_HERE / "requirements.txt").read_text("utf-8").splitlines()
_FILES = [path for path in (_HERE / _NAME).rglob("*") if path.is_file()]

setup(
    name=_NAME,
    version={version},
    description="A BentoService.",
    long_description=(_HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    packages=[_NAME],
    package_data={{_NAME: [str(path.relative_to(_HERE / _NAME)) for path in _FILES]}},
    install_requires=[line for line in _LINES if line.strip() and line[0] not in "#-"],
    entry_points={{"console_scripts": [f"{{_NAME}}={{_NAME}}:cli"]}},
)
'''

DOCKERFILE = """\
FROM {image}
RUN groupadd --gid 1034 bentoml && useradd --uid 1034 --gid bentoml --create-home bentoml
WORKDIR /home/bentoml/bundle
ENV BENTOML_HOME=/home/bentoml
{setup}COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=bentoml:bentoml . ./
EXPOSE 5000
USER bentoml
CMD ["bentoml", "serve-gunicorn", "--host", "0.0.0.0", "./"]
"""

_SETUP_STEP = "COPY setup.sh ./\nRUN sh ./setup.sh\n"


def package_door(name: str, version: str) -> str:
    """Return the `__init__.py` of the bundle's package."""
    return PACKAGE_DOOR.format(name=name, version=version)


def setup_script(name: str, version: str) -> str:
    """Return the bundle's setup.py."""
    return SETUP.format(name=json.dumps(name), version=json.dumps(_python_version(version)))


def manifest_in(name: str) -> str:
    """Return the bundle's MANIFEST.in."""
    return f"include requirements.txt\ngraft {name}\n"


def dockerfile(*, image: str | None, python: str, has_setup: bool) -> str:
    """Return a Dockerfile that serves the bundle."""
    minor = ".".join(python.split(".")[:2])
    return DOCKERFILE.format(
        image=image or f"python:{minor}-slim", setup=_SETUP_STEP if has_setup else ""
    )


def readme(name: str, version: str, about: str) -> str:
    """Return the bundle's README."""
    text = f"# {name}:{version}\n\nServe it with `bentoml serve {name}:{version}`.\n"
    return f"{text}\n{about.strip()}\n" if about.strip() else text


def _python_version(version: str) -> str:
    """Return a version that Python packaging accepts: `20261122174316_AB12CD` has a local part."""
    head, _, tail = version.partition("_")
    local = "".join(char if char.isalnum() else "." for char in tail).strip(".")
    return f"{head}+{local.lower()}" if local else head
