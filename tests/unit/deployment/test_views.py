"""What the outside sees: words for how a deployment is, addresses, and when a wait is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dosirak.deployment import changes
from dosirak.deployment.changes import Asked, BundlePin
from dosirak.deployment.configuration import DeploymentConfiguration, StrategyName
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Presence,
    Replica,
    ReplicaPhase,
    Revision,
    Rollout,
    RolloutPhase,
)
from dosirak.deployment.views import cloud_view, deployment_view, endpoint_urls
from dosirak.deployment.waiting import come_true, told_progress
from dosirak.errors import DeploymentConflict, RolloutFailed

ROUTER = "http://127.0.0.1:8800"
CONFIGURATION = DeploymentConfiguration()
ACTIVE = Deployment(
    name="iris", presence=Presence.RUNNING, generation=1, configuration=CONFIGURATION, replicas=2,
    created_at=0.0, updated_at=0.0, active_revision=1, latest_revision=1,
)  # fmt: skip
ROLLOUT = Rollout(2, 1, StrategyName.ROLLING, RolloutPhase.PROGRESSING, 0, 1.0, 1.0)


def _replica(number: int, revision: int, phase: ReplicaPhase, reason: str = "") -> Replica:
    return Replica(f"r{number}", "iris", revision, phase, number, number, reason=reason)


def _state(deployment: Deployment, *replicas: Replica) -> DeploymentState:
    revisions = {
        n: Revision("iris", n, f"iris:{n}", f"id{n}", CONFIGURATION, 0.0)
        for n in range(1, deployment.latest_revision + 1)
    }
    return DeploymentState(deployment, revisions, replicas)


READY = [_replica(n, 1, ReplicaPhase.READY) for n in (1, 2)]
STARTING = _replica(3, 1, ReplicaPhase.STARTING)
MAKING = _replica(5, 2, ReplicaPhase.STARTING, "The environment is made.")
CRASHED = _replica(4, 1, ReplicaPhase.FAILED, "It ended.")
COMING = replace(ACTIVE, latest_revision=2, rollout=ROLLOUT)
FIRST = replace(ACTIVE, active_revision=None, rollout=replace(ROLLOUT, to_revision=1))


def _moving(**changed: object) -> Deployment:
    return replace(COMING, rollout=replace(ROLLOUT, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("deployment", "replicas", "status", "reason"),
    [
        (ACTIVE, READY, "running", ""),
        (ACTIVE, [READY[0], STARTING], "running", "1 of 2 replicas ready."),
        (ACTIVE, [READY[0], CRASHED], "unhealthy", "1 of 2 replicas ready. It ended."),
        (ACTIVE, [STARTING], "deploying", "0 of 2 replicas ready."),
        (ACTIVE, [STARTING, CRASHED], "unhealthy", "0 of 2 replicas ready. It ended."),
        (replace(ACTIVE, replicas=0), [], "scaled-to-zero", ""),
        (replace(ACTIVE, active_revision=None), [], "non-deployed", ""),
        (FIRST, [STARTING], "deploying", "Revision 1 is coming."),
        (
            replace(FIRST, rollout=replace(ROLLOUT, phase=RolloutPhase.FAILED, reason="No.")),
            [], "failed", "No.",
        ),
        (COMING, READY, "deploying", "Revision 2 is coming."),
        (COMING, [*READY, MAKING], "deploying", "Revision 2 is coming. The environment is made."),
        (ACTIVE, [*READY, MAKING], "running", ""),
        (_moving(phase=RolloutPhase.WAITING, weight_percent=10), READY, "running",
         "Revision 2 waits at 10 % to be promoted."),
        (_moving(phase=RolloutPhase.PAUSED, weight_percent=10), READY, "running",
         "The rollout of revision 2 is paused at 10 %."),
        (_moving(phase=RolloutPhase.FAILED, reason="It crashed."), READY, "running", "It crashed."),
        (replace(ACTIVE, presence=Presence.TERMINATED), READY, "terminating",
         "2 replicas left to end."),
        (replace(ACTIVE, presence=Presence.TERMINATED), [], "terminated", ""),
        (replace(ACTIVE, presence=Presence.DELETED), [], "terminating", "It is being deleted."),
    ],
)  # fmt: skip
def test_one_word_says_how_it_is(
    deployment: Deployment, replicas: list[Replica], status: str, reason: str
) -> None:
    view = deployment_view(_state(deployment, *replicas), ROUTER)
    assert (view.status.status.value, view.status.reason) == (status, reason)


def test_the_path_is_the_first_address() -> None:
    configuration = CONFIGURATION.model_copy(update={"hosts": ("iris.example",), "port": 9000})
    urls = endpoint_urls(replace(ACTIVE, configuration=configuration), ROUTER)
    assert urls == (
        "http://127.0.0.1:8800/iris",
        "http://iris.localhost:8800",
        "http://iris.example:8800",
        "http://127.0.0.1:9000",
    )
    assert endpoint_urls(replace(ACTIVE, name="a_b"), ROUTER) == ("http://127.0.0.1:8800/a_b",)


def test_the_keys_of_bentocloud() -> None:
    found = cloud_view(deployment_view(_state(ACTIVE, *READY), ROUTER), "http://127.0.0.1:8801/")
    assert list(found) == [
        "name", "bento", "cluster", "endpoint_urls", "admin_console", "created_at", "created_by",
        "config", "status",
    ]  # fmt: skip
    assert found["admin_console"] == "http://127.0.0.1:8801/deployments/iris"
    assert found["status"]["status"] == "running"


def _view(deployment: Deployment, *replicas: Replica) -> object:
    return deployment_view(_state(deployment, *replicas), ROUTER)


@pytest.mark.parametrize(
    ("now", "replicas", "done"),
    [
        (COMING, READY, False),
        (_moving(phase=RolloutPhase.WAITING), READY, True),
        (_moving(phase=RolloutPhase.PAUSED), READY, True),
        (replace(_moving(phase=RolloutPhase.COMPLETED), active_revision=2), READY, False),
        (
            replace(_moving(phase=RolloutPhase.COMPLETED), active_revision=2),
            [_replica(n, 2, ReplicaPhase.READY) for n in (5, 6)],
            True,
        ),
    ],
)
def test_a_rollout_is_waited_for(now: Deployment, replicas: list[Replica], done: bool) -> None:
    assert come_true(_view(now, *replicas), _view(COMING, *READY)) is done  # type: ignore[arg-type]
    assert told_progress(_view(now, *replicas)).startswith("iris: ")  # type: ignore[arg-type]


def test_that_an_environment_is_made_is_told_while_it_lasts() -> None:
    assert told_progress(_view(COMING, *READY, MAKING)).endswith(", making the environment")  # type: ignore[arg-type]
    assert "environment" not in told_progress(_view(COMING, *READY, STARTING))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "error"),
    [
        (_moving(phase=RolloutPhase.FAILED, reason="It crashed."), RolloutFailed),
        (_moving(phase=RolloutPhase.ABORTED, reason="It was aborted."), RolloutFailed),
        (_moving(to_revision=3), DeploymentConflict),
        (replace(COMING, presence=Presence.TERMINATED), DeploymentConflict),
    ],
)
def test_a_wait_that_is_in_vain_ends(now: Deployment, error: type[Exception]) -> None:
    with pytest.raises(error):
        come_true(_view(now, *READY), _view(COMING, *READY))  # type: ignore[arg-type]


def test_a_wait_in_vain_leads_to_the_log_of_what_failed() -> None:
    failed = _moving(phase=RolloutPhase.FAILED, reason="It crashed.")
    crashed = _replica(9, 2, ReplicaPhase.FAILED)
    with pytest.raises(RolloutFailed) as caught:
        come_true(_view(failed, *READY, crashed), _view(COMING, *READY))  # type: ignore[arg-type]
    assert "logs iris --replica r9" in caught.value.remedy


def test_a_number_of_replicas_is_waited_for() -> None:
    scaled = replace(ACTIVE, replicas=3)
    asked = _view(scaled, *READY)
    assert not come_true(asked, asked)  # type: ignore[arg-type]
    third = _replica(7, 1, ReplicaPhase.READY)
    assert come_true(_view(scaled, *READY, third), asked)  # type: ignore[arg-type]


def test_an_end_is_waited_for() -> None:
    change = changes.terminate(ACTIVE, Asked(at=5.0))
    asked = _view(change.deployment, *READY)
    assert not come_true(asked, asked)  # type: ignore[arg-type]
    assert come_true(_view(change.deployment), asked)  # type: ignore[arg-type]


def test_what_a_bundle_pin_is_told_as() -> None:
    made = changes.create("iris", BundlePin("iris:1", "id1"), CONFIGURATION, Asked(at=5.0))
    view = deployment_view(DeploymentState(made.deployment, {1: made.revision}), ROUTER)  # type: ignore[dict-item]
    assert (view.bundle, view.bundle_id, view.revision) == ("iris:1", "id1", 1)
