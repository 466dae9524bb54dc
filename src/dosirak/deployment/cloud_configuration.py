"""BentoCloud's names for a deployment's configuration → dosirak's.

    bento envs secrets access_authorization services.<Svc>{scaling, envs, …} canary{versions…}
        → bundle environment secrets access scaling strategy resources canary

Values pass through as they are, for pydantic to judge under the name that they get. What only a
cloud can do is warned of. Keys that are dosirak's own already are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from dosirak.deployment.problems import near
from dosirak.errors import FieldProblem

_STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "RollingUpdate": {"strategy": "rolling"},
    "RampedSlowRollout": {"strategy": "rolling", "max_surge": 1},
    "BestEffortControlledRollout": {"strategy": "blue_green"},
    "Recreate": {"strategy": "recreate"},
}
_ONLY_IN_A_CLOUD = {
    "cluster": "everything runs on this machine",
    "dev": "it watches no files; `dosirak deployment update` takes new code",
    "admin_console": "the console's address is the control plane's",
    "instance_type": "replicas share this machine; use resources to bound them",
    "extras": "it is for Kubernetes",
    "policy": "nothing scales by itself yet; use min_replicas and max_replicas",
    "gpu": "replicas see the GPUs of this machine",
    "gpu_type": "replicas see the GPUs of this machine",
    "tpu_type": "there are none here",
    "external_queue": "requests wait at the replicas",
    "concurrency": "nothing scales by itself yet",
    "metrics": "metrics are always on",
    "logging": "logs are kept for each replica",
    "monitoring": "set it with service_options",
    "http": "the router listens for all deployments",
    "ssl": "the router listens for all deployments",
    "image": "the bundle says what it needs",
    "endpoints": "the bundle says what it offers",
    "tracing": "set it with environment variables",
    "runner_probe": "replicas are always probed",
    "threads": "set it with service_options",
}
_SERVICE_KEYS = (
    *("scaling", "envs", "deployment_strategy", "config_overrides", "cold_start_timeout"),
    *("instance_type", "extras"),
)
_OVERRIDE_KEYS = ("traffic", "resources", "workers", "envs")


@dataclass(slots=True)
class Reading:
    """What came up while a file was read."""

    problems: list[FieldProblem] = field(default_factory=list[FieldProblem])
    warnings: list[str] = field(default_factory=list[str])
    canary_bundle: str = ""
    is_canary: bool = False

    def wrong(self, path: str, reason: str) -> None:
        """Note what cannot be understood."""
        self.problems.append(FieldProblem(path, reason))

    def useless(self, path: str, key: str) -> bool:
        """Note a key that only a cloud knows; return whether it is one."""
        reason = _ONLY_IN_A_CLOUD.get(key)
        if reason is not None:
            self.warnings.append(f"{path} has no meaning here: {reason}.")
        return reason is not None


def translated(document: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """Return the settings of a document under dosirak's names; `name` and `bundle` among them."""
    settings = _Settings(reading)
    for key, value in document.items():
        if value is None:
            continue
        translate = _KEYS.get(key)
        if translate is not None:
            translate(settings, value)
        elif key not in ("cluster", "dev", "admin_console") or not reading.useless(key, key):
            settings.put(key, value, key)
    if reading.is_canary:
        # There a canary is beside the strategy of each service; here it is a strategy itself.
        settings.found["strategy"] = "canary"
    return settings.found


class _Settings:
    """Settings as they are found, each said once; the same thing twice must be the same."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.found: dict[str, Any] = {}

    def put(self, key: str, value: Any, path: str) -> None:
        """Take a setting."""
        before = self.found.setdefault(key, value)
        if before == value:
            return
        if isinstance(before, dict) and isinstance(value, dict):
            for inner, item in cast("dict[str, Any]", value).items():
                if cast("dict[str, Any]", before).setdefault(inner, item) != item:
                    self.reading.wrong(path, f"says {inner} otherwise than what stands before it")
        else:
            self.reading.wrong(path, f"says {key} otherwise than what stands before it")

    def mapping(self, value: Any, path: str) -> Mapping[str, Any]:
        """Return names with values; what is none is noted."""
        if isinstance(value, Mapping):
            return {str(k): v for k, v in cast("Mapping[Any, Any]", value).items()}
        self.reading.wrong(path, "must be names with values")
        return {}


def _bento(settings: _Settings, value: Any) -> None:
    settings.put("bundle", value, "bento")


def _envs(settings: _Settings, value: Any, path: str = "envs") -> None:
    if not isinstance(value, list):
        settings.reading.wrong(path, "must be a list of {name, value}")
        return
    for index, item in enumerate(cast("list[Any]", value)):
        at = f"{path}[{index}]"
        entry = settings.mapping(item, at)
        for key in set(entry) - {"name", "value", "stage"}:
            question = near(key, ("name", "value"))
            settings.reading.wrong(
                f"{at}.{key}", f"there is no such field{question and f'; {question}'}"
            )
        if "name" not in entry:
            settings.reading.wrong(f"{at}.name", "is missing")
            continue
        # BentoCloud's variables are text; a number in YAML means its digits.
        value_of = entry.get("value", "")
        text = value_of if isinstance(value_of, str) else _yaml_text(value_of)
        settings.put("environment", {str(entry["name"]): text}, at)


def _yaml_text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _authorization(settings: _Settings, value: Any) -> None:
    if isinstance(value, bool):
        settings.put("access", "token" if value else "public", "access_authorization")
    else:
        settings.reading.wrong("access_authorization", "must be true or false")


def _labels(settings: _Settings, value: Any) -> None:
    if isinstance(value, list):
        pairs = [
            settings.mapping(item, f"labels[{i}]")
            for i, item in enumerate(cast("list[Any]", value))
        ]
        value = {str(pair.get("key", "")): pair.get("value", "") for pair in pairs}
    settings.put("labels", value, "labels")


def _services(settings: _Settings, value: Any) -> None:
    for name, service in settings.mapping(value, "services").items():
        _service(settings, service, f"services.{name}")


def _service(settings: _Settings, value: Any, path: str) -> None:
    for key, item in settings.mapping(value, path).items():
        at = f"{path}.{key}"
        if item is None:
            continue
        if key == "scaling":
            _scaling(settings, item, at)
        elif key == "envs":
            _envs(settings, item, at)
        elif key == "deployment_strategy":
            _strategy(settings, item, at)
        elif key == "cold_start_timeout":
            settings.put("ready_timeout_s", item, at)
        elif key == "config_overrides":
            _overrides(settings, item, at)
        elif not settings.reading.useless(at, key):
            _unknown(settings, at, key, _SERVICE_KEYS)


def _scaling(settings: _Settings, value: Any, path: str) -> None:
    for key, item in settings.mapping(value, path).items():
        if key in ("min_replicas", "max_replicas"):
            settings.put("scaling", {key: item}, path)
        elif not settings.reading.useless(f"{path}.{key}", key):
            _unknown(settings, f"{path}.{key}", key, ("min_replicas", "max_replicas", "policy"))


def _strategy(settings: _Settings, value: Any, path: str) -> None:
    found = _STRATEGIES.get(value) if isinstance(value, str) else None
    if found is None:
        settings.reading.wrong(path, f"must be one of {', '.join(_STRATEGIES)}")
        return
    for key, item in found.items():
        settings.put(key, item, path)


def _overrides(settings: _Settings, value: Any, path: str) -> None:
    for key, item in settings.mapping(value, path).items():
        at = f"{path}.{key}"
        if key == "traffic":
            _traffic(settings, item, at)
        elif key == "resources":
            _resources(settings, item, at)
        elif key == "workers":
            _workers(settings, item, at)
        elif key == "envs":
            _envs(settings, item, at)
        elif not settings.reading.useless(at, key):
            _unknown(settings, at, key, _OVERRIDE_KEYS)


def _traffic(settings: _Settings, value: Any, path: str) -> None:
    names = {"timeout": "timeout_s", "max_concurrency": "max_requests"}
    for key, item in settings.mapping(value, path).items():
        if key in names:
            settings.put(names[key], item, f"{path}.{key}")
        elif not settings.reading.useless(f"{path}.{key}", key):
            _unknown(settings, f"{path}.{key}", key, tuple(names))


def _resources(settings: _Settings, value: Any, path: str) -> None:
    for key, item in settings.mapping(value, path).items():
        if key == "cpu":
            settings.put("resources", {"cpus": _cpus(item)}, f"{path}.cpu")
        elif key == "memory":
            settings.put("resources", {"memory": item}, f"{path}.memory")
        elif not settings.reading.useless(f"{path}.{key}", key):
            _unknown(settings, f"{path}.{key}", key, ("cpu", "memory", "gpu"))


def _cpus(value: Any) -> Any:
    """Return CPUs; `500m` is half of one."""
    if isinstance(value, str) and value.endswith("m") and value[:-1].isdigit():
        return int(value[:-1]) / 1000
    return value


def _workers(settings: _Settings, value: Any, path: str) -> None:
    if value == "cpu_count":
        settings.reading.warnings.append(f"{path} has no meaning here: the service says how many.")
    else:
        settings.put("resources", {"workers": value}, path)


def _canary(settings: _Settings, value: Any) -> None:
    given = settings.mapping(value, "canary")
    if not {"route_type", "route_by", "versions"} & set(given):
        settings.put("canary", value, "canary")  # dosirak's own
        return
    versions = settings.mapping(given.get("versions", {}), "canary.versions")
    if len(versions) != 1:
        settings.reading.wrong("canary.versions", "must name one version: that which is coming")
        return
    if given.get("route_type", "random") != "random":
        settings.reading.warnings.append(
            "canary.route_type has no meaning here: requests go to the canary by its weight, or by"
            " dosirak's own canary.header."
        )
    for key in set(given) - {"route_type", "route_by", "versions"}:
        _unknown(settings, f"canary.{key}", key, ("route_type", "route_by", "versions"))
    settings.reading.is_canary = True
    [(name, version)] = versions.items()
    _canary_version(settings, version, f"canary.versions.{name}")


def _canary_version(settings: _Settings, value: Any, path: str) -> None:
    known: dict[str, Callable[[Any], None]] = {
        "weight": lambda item: settings.put("canary", {"weight_percent": item}, path),
        "envs": lambda item: _envs(settings, item, f"{path}.envs"),
        "secrets": lambda item: settings.put("secrets", item, f"{path}.secrets"),
        "services": lambda item: _services(settings, item),
    }
    for key, item in settings.mapping(value, path).items():
        if key == "bento":
            settings.reading.canary_bundle = str(item)
        elif key in known:
            known[key](item)
        else:
            _unknown(settings, f"{path}.{key}", key, ("bento", *known))


def _unknown(settings: _Settings, path: str, key: str, known: tuple[str, ...]) -> None:
    question = near(key, known)
    settings.reading.wrong(path, f"there is no such field{f'; {question}' if question else ''}")


_KEYS: Mapping[str, Callable[[_Settings, Any], None]] = {
    "bento": _bento,
    "envs": _envs,
    "access_authorization": _authorization,
    "labels": _labels,
    "services": _services,
    "canary": _canary,
}
