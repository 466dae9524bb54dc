"""What the platform keeps: deployments, their revisions, rollouts and replicas, as values.

Everything here is immutable and knows no database, network or process. The state stores these
values, `rollout` and `plan` decide over them, the API shows them. Times (`…_at`) are seconds since
the epoch by the wall clock; waiting is decided with the clock that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dosirak.deployment.configuration import DeploymentConfiguration, StrategyName


class Presence(StrEnum):
    """What a person wants of a deployment."""

    RUNNING = "running"
    TERMINATED = "terminated"
    DELETED = "deleted"


class RolloutPhase(StrEnum):
    """Where a rollout is.

    `PROGRESSING` moves by itself, `WAITING` waits for a person (`promote`, `abort` or a weight),
    `PAUSED` was stopped by one. The other three are ends.
    """

    PROGRESSING = "progressing"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing moves any more."""
        return self in (RolloutPhase.COMPLETED, RolloutPhase.ABORTED, RolloutPhase.FAILED)


class ReplicaPhase(StrEnum):
    """Where a replica is; `STOPPED` and `FAILED` have no process any more."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def alive(self) -> bool:
        """Whether there is, or is about to be, a process."""
        return self not in (ReplicaPhase.STOPPED, ReplicaPhase.FAILED)


@dataclass(frozen=True, slots=True)
class Revision:
    """One bundle with one configuration; never changed once made.

    Attributes:
        deployment: the deployment's name.
        number: counts from 1 within the deployment.
        bundle: the bundle's name and version, such as `iris:20261122`.
        bundle_id: the digest of its manifest, which is what replicas are started from.
        configuration: as it was when the revision was made.
        created_by: who asked for it: a token's name, or `local`.
        note: what the person said about it.
    """

    deployment: str
    number: int
    bundle: str
    bundle_id: str
    configuration: DeploymentConfiguration
    created_at: float
    created_by: str = "local"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Traffic moving to a revision.

    Attributes:
        to_revision: the one that is coming.
        from_revision: the one that has the traffic meanwhile; None for the first.
        weight_percent: share of the requests that the coming one gets now.
        since_at: when the phase began.
        reason: why it ended, paused or waits, for people.
        is_rollback: whether it goes back to an earlier revision.
        crashes: replicas of the coming revision that ended by themselves so far.
        promoted: whether a person has let it have everything.
    """

    to_revision: int
    from_revision: int | None
    strategy: StrategyName
    phase: RolloutPhase
    weight_percent: int
    started_at: float
    since_at: float
    reason: str = ""
    is_rollback: bool = False
    crashes: int = 0
    promoted: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """A named place for a service.

    Attributes:
        generation: grows with every change that a person makes; changes name the one that they
            saw, so that none is overwritten unseen.
        configuration: what was asked for last; a revision keeps its own copy.
        replicas: how many of the serving revision are wanted (scaling, or autoscaling, sets it).
        active_revision: the one that has the traffic when no rollout moves it.
        previous_revision: the one before, kept warm until `previous_until_at`.
        latest_revision: the greatest number given so far.
        rollout: the last rollout, ended or not.
    """

    name: str
    presence: Presence
    generation: int
    configuration: DeploymentConfiguration
    replicas: int
    created_at: float
    updated_at: float
    created_by: str = "local"
    active_revision: int | None = None
    previous_revision: int | None = None
    previous_until_at: float | None = None
    latest_revision: int = 0
    rollout: Rollout | None = None

    @property
    def moving(self) -> Rollout | None:
        """The rollout that has not ended, if any."""
        return None if self.rollout is None or self.rollout.phase.ended else self.rollout


@dataclass(frozen=True, slots=True)
class Replica:
    """One running copy of a revision, or one that was.

    Attributes:
        id: never given twice; names its folder and socket.
        since_at: when the phase began.
        ready_at: when it was first ready; None if it never was.
        pid: its first process, once it is known.
        reason: why it ended, or what keeps it from starting now, for people.
    """

    id: str
    deployment: str
    revision: int
    phase: ReplicaPhase
    started_at: float
    since_at: float
    ready_at: float | None = None
    pid: int | None = None
    reason: str = ""


def told_replicas(count: int) -> str:
    """Return a number of replicas in words, such as `1 replica`."""
    return "1 replica" if count == 1 else f"{count} replicas"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a deployment, for people to read.

    Attributes:
        kind: a word to filter by, such as `rollout_completed` or `replica_failed`.
        actor: a token's name, `local`, or `controller`.
    """

    at: float
    deployment: str
    kind: str
    message: str
    revision: int | None = None
    replica: str = ""
    actor: str = "controller"


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """All that decisions about one deployment need.

    Attributes:
        revisions: those that the deployment may still move to, by number.
        replicas: every replica that has a process, and those that ended lately.
    """

    deployment: Deployment
    revisions: dict[int, Revision] = field(default_factory=dict[int, Revision])
    replicas: tuple[Replica, ...] = ()
