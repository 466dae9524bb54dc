"""From a replica that was written down to the order for it: its revision, with secrets put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.records import DeploymentState, Replica
from dosirak.deployment.state.access_files import access_file
from dosirak.deployment.target import ReplicaOrder
from dosirak.errors import RevisionNotFound

SecretValues = Callable[[tuple[str, ...]], Mapping[str, str]]
"""From names of secrets to their values; raises `NotFound` for one that is not set."""


class Orders:
    """Writes orders (see `Controller`)."""

    def __init__(self, paths: PlatformPaths, secret_values: SecretValues) -> None:
        self._paths = paths
        self._secret_values = secret_values

    def __call__(self, state: DeploymentState, replica: Replica) -> ReplicaOrder:
        """Return what to run for one replica.

        Raises:
            RevisionNotFound: its revision is not known any more.
            NotFound: a secret is not set.
        """
        revision = state.revisions.get(replica.revision)
        if revision is None:
            raise RevisionNotFound(
                f"Revision {replica.revision} of {replica.deployment!r} is not known any more.",
                remedy="Update the deployment to make another one.",
            )
        configuration = revision.configuration
        return ReplicaOrder(
            replica=replica.id,
            deployment=replica.deployment,
            revision=replica.revision,
            bundle_id=revision.bundle_id,
            configuration=configuration,
            environment={
                **configuration.environment,
                **self._secret_values(configuration.secrets),
            },
            # Who may call is said there, and may change while the replica runs.
            access_file=str(access_file(self._paths, replica.deployment)),
        )
