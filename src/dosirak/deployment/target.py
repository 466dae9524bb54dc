"""Where replicas run, as the controller drives it: one small protocol, one file per place.

A replica outlives the process that started it. Its id is given before it is started, and the place
remembers it by that id, so that starting twice is starting once, and a controller that was killed
finds every replica again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.routing import Upstream


@dataclass(frozen=True, slots=True)
class ReplicaOrder:
    """What to run.

    Attributes:
        bundle_id: the digest of the bundle's manifest in the store.
        environment: variables of the configuration, secrets already in.
        access_file: where the hashes of the tokens are that callers must have; empty for none.
    """

    replica: str
    deployment: str
    revision: int
    bundle_id: str
    configuration: DeploymentConfiguration
    environment: Mapping[str, str]
    access_file: str = ""


@dataclass(frozen=True, slots=True)
class SeenReplica:
    """What a place says of a replica.

    Attributes:
        alive: whether it has a process (one that prepares its environment counts).
        ready: whether it answers requests: models loaded, warm, golden examples replayed.
        stage: `preparing` (its environment is being made), `starting`, `serving` or `ended`.
        reason: once it has ended by itself: how, in a sentence for people; the log has the rest.
        oom: whether it was ended for its memory.
    """

    replica: str
    alive: bool
    ready: bool
    stage: str
    upstream: Upstream | None = None
    pid: int | None = None
    exit_code: int | None = None
    reason: str = ""
    oom: bool = False


class Target(Protocol):
    """A place for replicas. Every call returns at once and may be repeated."""

    def start(self, order: ReplicaOrder) -> None:
        """Begin to run a replica; nothing is done if one of that id was begun before."""
        ...

    def look(self) -> Mapping[str, SeenReplica]:
        """Return every replica that the place knows, ended ones included, by id."""
        ...

    def stop(self, replica: str) -> None:
        """Ask it to end: it finishes what it is doing, within its drain timeout."""
        ...

    def kill(self, replica: str) -> None:
        """End it now, with all its processes."""
        ...

    def forget(self, replica: str) -> None:
        """Remove what an ended replica left, its log excepted."""
        ...

    def logs(self, replica: str, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """Return the end of its log; with `follow`, go on as it grows."""
        ...
