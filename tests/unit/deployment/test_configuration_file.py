"""Configurations as people write them: dosirak's names, BentoCloud's names, and what is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.configuration_file import (
    checked_configuration,
    merged,
    read_configuration,
    read_configuration_file,
    size_bytes,
)
from dosirak.deployment.views import cloud_configuration
from dosirak.errors import InvalidConfiguration

OWN = b"""
name: iris
bundle: iris:1
environment: {LEVEL: debug}
secrets: [KEY]
scaling: {min_replicas: 1, max_replicas: 4}
access: token
strategy: canary
canary: {weight_percent: 5, header: X-Canary}
resources: {memory: 512Mi, cpus: 0.5}
timeout_s: 30
"""

CLOUD = b"""
name: iris
bento: iris:1
cluster: gcp-us
access_authorization: true
envs:
  - name: LEVEL
    value: debug
  - {name: PORT, value: 80}
secrets: [KEY]
labels: [{key: team, value: a}]
services:
  Iris:
    instance_type: cpu.1
    scaling:
      min_replicas: 1
      max_replicas: 4
      policy: {metrics: [{type: cpu, value: 80}]}
    deployment_strategy: RampedSlowRollout
    cold_start_timeout: 120
    config_overrides:
      traffic: {timeout: 30, max_concurrency: 64}
      resources: {cpu: 500m, memory: 512Mi, gpu: 1}
      workers: 2
"""


def test_dosiraks_own_names() -> None:
    written = read_configuration(OWN)
    assert (written.name, written.bundle, written.warnings) == ("iris", "iris:1", ())
    found = written.configuration()
    assert found.resources.memory_bytes == 512 << 20
    assert (found.canary.header, found.access.value) == ("x-canary", "token")
    assert set(written.settings) == {
        "environment", "secrets", "scaling", "access", "strategy", "canary", "resources",
        "timeout_s",
    }  # fmt: skip


def test_bentoclouds_names() -> None:
    written = read_configuration(CLOUD)
    assert (written.name, written.bundle) == ("iris", "iris:1")
    assert written.configuration() == DeploymentConfiguration.model_validate(
        {
            "environment": {"LEVEL": "debug", "PORT": "80"},
            "secrets": ["KEY"],
            "labels": {"team": "a"},
            "scaling": {"min_replicas": 1, "max_replicas": 4},
            "access": "token",
            "strategy": "rolling",
            "max_surge": 1,
            "ready_timeout_s": 120,
            "timeout_s": 30,
            "max_requests": 64,
            "resources": {"cpus": 0.5, "memory_bytes": 512 << 20, "workers": 2},
        }
    )
    told = [warning.partition(" has no meaning here")[0] for warning in written.warnings]
    assert told == [
        "cluster",
        "services.Iris.instance_type",
        "services.Iris.scaling.policy",
        "services.Iris.config_overrides.resources.gpu",
    ]


def test_a_canary_of_bentocloud() -> None:
    written = read_configuration(
        b"""
        bento: iris:1
        services: {Iris: {deployment_strategy: RollingUpdate}}
        canary:
          route_type: random
          versions: {v2: {bento: "iris:2", weight: 20, envs: [{name: A, value: b}]}}
        """
    )
    found = written.configuration()
    assert (written.bundle, written.canary_bundle) == ("iris:1", "iris:2")
    assert (found.strategy.value, found.canary.weight_percent) == ("canary", 20)
    assert found.environment == {"A": "b"}


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("scalng: {}", "scalng", "did you mean 'scaling'?"),
        ("scaling: {min_replica: 1}", "scaling.min_replica", "did you mean 'min_replicas'?"),
        ("scaling: {min_replicas: 5, max_replicas: 2}", "scaling", "more than"),
        ("scaling: {min_replicas: -1}", "scaling.min_replicas", "greater than or equal to 0"),
        ("timeout_s: soon", "timeout_s", "number"),
        ("envs: {A: b}", "envs", "list of {name, value}"),
        ("envs: [{nme: A}]", "envs[0].nme", "did you mean 'name'?"),
        ("envs: [{name: A, value: [1]}]", "environment.A", "string"),
        ("environment: {'1A': b}", "environment.1A", "match"),
        ("access_authorization: maybe", "access_authorization", "true or false"),
        ("services: {I: {scaling: {min_replica: 1}}}", "services.I.scaling.min_replica", "min_"),
        (
            "services: {I: {deployment_strategy: Fast}}",
            "services.I.deployment_strategy",
            "Recreate",
        ),
        ("services: {I: {replicas: 1}}", "services.I.replicas", "no such field"),
        (
            "services: {A: {scaling: {min_replicas: 1}}, B: {scaling: {min_replicas: 2}}}",
            "services.B.scaling",
            "otherwise",
        ),
        ("canary: {versions: {a: {}, b: {}}}", "canary.versions", "one version"),
        ("hosts: [a, 'b c']", "hosts[1]", "match"),
        ("name: 5", "name", "text"),
        ("resources: {memory: 5Mb, memory_bytes: 1}", "resources.memory", "twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(text: str, field: str, reason: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        read_configuration(text.encode())
    problems = {problem.field: problem.reason for problem in caught.value.fields}
    assert field in problems
    assert reason in problems[field]


@pytest.mark.parametrize(
    "text", [b"a: [", b"- a\n- b", b"hello", b"\xff\xfe\xfa", b"a: !!python/x 1"]
)
def test_what_is_no_configuration_is_told(text: bytes) -> None:
    with pytest.raises(InvalidConfiguration):
        read_configuration(text)


def test_an_empty_file_asks_for_nothing() -> None:
    assert read_configuration(b"").settings == {}


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "iris.json"
    path.write_text(json.dumps({"name": "iris", "configuration": {"timeout_s": 5}}))
    written = read_configuration_file(path)
    assert (written.name, dict(written.settings)) == ("iris", {"timeout_s": 5})


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InvalidConfiguration, match="larger"):
        read_configuration_file(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512Mi", 512 << 20), ("512MiB", 512 << 20), ("2GiB", 2 << 30), ("1.5G", 1_500_000_000),
        ("100kB", 100_000), ("1024", 1024), ("64 Ki", 64 << 10), (7, 7), ("much", "much"),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text: object, size: object) -> None:
    assert size_bytes(text) == size


def test_what_is_merged_keeps_what_is_not_named() -> None:
    before = checked_configuration(
        {"environment": {"A": "1", "B": "2"}, "scaling": {"max_replicas": 3}, "timeout_s": 5}
    )
    settings = {"environment": {"B": None, "C": "3"}, "scaling": {"min_replicas": 2}, "hosts": None}
    after = checked_configuration(merged(before, settings))
    assert after.environment == {"A": "1", "C": "3"}
    assert (after.scaling.min_replicas, after.scaling.max_replicas) == (2, 3)
    assert after.timeout_s == 5


# What no process can be given is refused, and has tests of its own.
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
CONFIGURATIONS = st.builds(
    DeploymentConfiguration,
    environment=st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), VALUES),
    secrets=st.lists(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), unique=True).map(tuple),
    access=st.sampled_from(["public", "token"]),
    strategy=st.sampled_from(["rolling", "recreate", "blue_green"]),
)


@given(CONFIGURATIONS)
def test_nothing_merged_is_nothing_changed(configuration: DeploymentConfiguration) -> None:
    assert checked_configuration(merged(configuration, {})) == configuration


@given(CONFIGURATIONS)
def test_what_is_shown_in_bentoclouds_words_is_read_back(
    configuration: DeploymentConfiguration,
) -> None:
    shown = cloud_configuration("iris:1", configuration)
    assert read_configuration(json.dumps(shown).encode()).configuration() == configuration


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["envs", "services", "scaling", "canary", "versions", "secrets", "labels", "name",
                 "config_overrides", "resources", "traffic", "weight", "x"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    )
)  # fmt: skip
def test_whatever_is_written_is_read_or_refused(document: object) -> None:
    with suppress(InvalidConfiguration):
        read_configuration(json.dumps(document).encode())
