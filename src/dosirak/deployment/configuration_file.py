"""A configuration as people write it, YAML or JSON → what to deploy.

    text → mapping → (BentoCloud's names → dosirak's, `cloud_configuration`) → checked by pydantic

A file gives only what it names; the rest stays as it was (`update`) or takes its default (`apply`).
What has no meaning on one machine is warned of, what is unknown is refused with its path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from dosirak.deployment.cloud_configuration import Reading, translated
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.problems import field_problems, near
from dosirak.errors import FieldProblem, InvalidConfiguration

_OWN_NAMES = tuple(DeploymentConfiguration.model_fields)
# A configuration is small; what is not is no configuration.
_MAX_BYTES = 1 << 20
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True)
class WrittenConfiguration:
    """What a file asks for.

    Attributes:
        name: of the deployment; empty where the file names none.
        bundle: a bundle or a directory; empty likewise.
        canary_bundle: what is to get a part of the traffic, where BentoCloud's `canary` names it.
        settings: fields of `DeploymentConfiguration`, only those that the file names.
        warnings: what it says that has no meaning here.
    """

    name: str = ""
    bundle: str = ""
    canary_bundle: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()

    def configuration(self) -> DeploymentConfiguration:
        """Return the whole configuration, with defaults for what the file does not name."""
        return checked_configuration(self.settings)


def read_configuration_file(path: Path) -> WrittenConfiguration:
    """Read a file.

    Raises:
        InvalidConfiguration: it cannot be read, or says what is not understood (the author's
            fault; `fields` names each place).
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidConfiguration(
            f"{path} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from error
    if len(content) > _MAX_BYTES:
        raise InvalidConfiguration(
            f"{path} is larger than 1 MiB.", remedy="Give a deployment's configuration."
        )
    return read_configuration(content, where=str(path))


def read_configuration(content: bytes, *, where: str = "The configuration") -> WrittenConfiguration:
    """Read YAML or JSON; see `read_configuration_file`."""
    document = _document(content, where)
    nested = document.pop("configuration", {})
    if not isinstance(nested, dict) or set(nested) & set(document):
        raise _wrong(where, [FieldProblem("configuration", "must hold what is not said beside it")])
    reading = Reading()
    settings = translated({**document, **nested}, reading)
    name, bundle = (_text(settings, key, reading) for key in ("name", "bundle"))
    unknown = [key for key in settings if key not in _OWN_NAMES]
    reading.problems += [FieldProblem(key, _unknown(key)) for key in unknown]
    if "resources" in settings:
        settings["resources"] = _resources(settings["resources"], reading)
    if reading.problems:
        raise _wrong(where, reading.problems)
    checked_configuration(settings, where=where)
    return WrittenConfiguration(
        name, bundle, reading.canary_bundle, settings, tuple(reading.warnings)
    )


def checked_configuration(
    settings: Mapping[str, Any], *, where: str = "The configuration", within: str = ""
) -> DeploymentConfiguration:
    """Return settings as a configuration.

    Raises:
        InvalidConfiguration: with a problem for each wrong field.
    """
    try:
        return DeploymentConfiguration.model_validate(dict(settings))
    except ValidationError as error:
        found = field_problems(error.errors(), DeploymentConfiguration, within=within)
        raise _wrong(where, list(found)) from error


def merged(before: DeploymentConfiguration, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's settings with some of them replaced.

    Parts (`scaling`, `canary`, `resources`) and the variables of `environment` are merged one by
    one, everything else is replaced; a null takes a setting back to its default.
    """
    return _merged(before.model_dump(mode="json", exclude_unset=False), settings)


def size_bytes(value: Any) -> Any:
    """Return a size such as `512Mi`, `2GiB` or `1.5G` in bytes; anything else as it is."""
    if not isinstance(value, str) or not (found := _SIZE.fullmatch(value.strip())):
        return value
    number, unit = found.group(1), (found.group(2) or "").lower()
    base = 1024 if "i" in unit else 1000
    return int(float(number) * base ** _POWERS[unit[:1]])


def _merged(before: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    after = dict(before)
    for key, value in settings.items():
        inner = after.get(key)
        if value is None:
            after.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(inner, Mapping):
            inside = cast("Mapping[str, Any]", inner)
            after[key] = _merged(inside, cast("Mapping[str, Any]", value))
        else:
            after[key] = value
    return after


def _document(content: bytes, where: str) -> dict[str, Any]:
    try:
        document: object = _json_or_yaml(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = "" if line is None else f" at line {line + 1}"
        raise InvalidConfiguration(
            f"{where} is neither YAML nor JSON{at}.", remedy="Correct what stands there."
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidConfiguration(
            f"{where} holds no names with values.", remedy="Write lines such as `name: my-first`."
        )
    return {str(key): value for key, value in cast("dict[Any, Any]", document).items()}


def _json_or_yaml(content: bytes) -> object:
    # YAML holds nearly all of JSON, but not its way to write characters beyond the first 65,536.
    if content.lstrip()[:1] == b"{":
        with suppress(ValueError):
            return json.loads(content)
    return yaml.safe_load(content)


def _text(settings: dict[str, Any], key: str, reading: Reading) -> str:
    value = settings.pop(key, None)
    if value is None or isinstance(value, str):
        return value or ""
    reading.problems.append(FieldProblem(key, "must be text; put it in quotes"))
    return ""


def _resources(resources: Any, reading: Reading) -> Any:
    if not isinstance(resources, dict):
        return resources
    given = dict(cast("dict[str, Any]", resources))
    if "memory" in given:
        if "memory_bytes" in given:
            reading.problems.append(FieldProblem("resources.memory", "is said twice"))
        given["memory_bytes"] = given.pop("memory")
    if "memory_bytes" in given:
        given["memory_bytes"] = size_bytes(given["memory_bytes"])
    return given


def _unknown(key: str) -> str:
    question = near(key, (*_OWN_NAMES, "name", "bundle", "bento", "envs", "services"))
    return f"there is no such field{f'; {question}' if question else ''}"


def _wrong(where: str, problems: list[FieldProblem]) -> InvalidConfiguration:
    first = problems[0]
    more = "" if len(problems) == 1 else f" (and {len(problems) - 1} more)"
    return InvalidConfiguration(
        f"{where} is wrong at {first.field or 'its top'}: {first.reason}{more}.",
        remedy="Correct it; `docs/guides/deployments.md` lists the fields.",
        fields=problems,
    )
