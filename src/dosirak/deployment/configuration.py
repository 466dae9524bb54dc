"""What a person may ask of a deployment, checked once: unknown or wrong fields are named.

These are dosirak's own names. `configuration_file` reads files, BentoCloud's names among them, into
this. A change of anything marked *revision* makes a new revision; the rest acts at once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$")]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


# Before the pattern is asked: `to_lower` would come after it.
_Lower = BeforeValidator(_lower)
HostName = Annotated[
    str, _Lower, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
]
# Half a character cannot be written down, and a NUL ends a variable; the system takes 128 KiB.
VariableText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=65536)]
LabelText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=1024)]
HeaderName = Annotated[str, _Lower, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]


REVISION_FIELDS = (
    "environment",
    "secrets",
    "resources",
    "drain_timeout_s",
    "service_options",
)


class Access(StrEnum):
    """Who may call the apis of a deployment."""

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105 - a mode, not a secret


class StrategyName(StrEnum):
    """How traffic moves to a new revision."""

    ROLLING = "rolling"
    RECREATE = "recreate"
    CANARY = "canary"
    BLUE_GREEN = "blue_green"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Scaling(_Part):
    """How many replicas.

    Attributes:
        min_replicas: fewest; 0 allows none.
        max_replicas: most.
    """

    min_replicas: int = Field(default=1, ge=0, le=1000)
    max_replicas: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas ({self.min_replicas}) is more than max_replicas"
                f" ({self.max_replicas})"
            )
        return self


class Canary(_Part):
    """What part of the traffic a coming revision gets until a person promotes it.

    Attributes:
        weight_percent: its share of all requests.
        header: requests with this header go to it, whatever the weight.
        header_value: the value the header must have.
    """

    weight_percent: int = Field(default=10, ge=0, le=100)
    header: HeaderName | None = None
    header_value: HeaderValue = "always"


class Resources(_Part):
    """What each replica gets; *revision*.

    Attributes:
        workers: processes that load the models; what the service asks for when None.
        memory_bytes: most memory of the whole replica, where the system can hold it to that.
        cpus: most CPUs, likewise.
    """

    workers: int | None = Field(default=None, ge=1, le=1024)
    memory_bytes: int | None = Field(default=None, ge=16 << 20, le=1 << 60)
    cpus: float | None = Field(default=None, gt=0, le=4096)


class DeploymentConfiguration(_Part):
    """Everything that a person may set.

    Attributes:
        environment: variables of the replicas; *revision*.
        secrets: names of secrets whose values become variables of the same name; *revision*.
        labels: for finding deployments.
        scaling: how many replicas.
        access: whether callers need a token of this deployment.
        strategy: how traffic moves to a new revision.
        canary: for the strategy `canary`.
        promote_by_hand: whether `blue_green` waits for a person before it switches.
        max_surge: replicas that `rolling` starts at a time, beyond those that are wanted.
        resources: what each replica gets.
        hosts: names that mean this deployment, beside `NAME.localhost`.
        port: a listener of its own.
        timeout_s: longest time for a request, streams excepted.
        max_requests: requests that may be with its replicas at a time.
        ready_timeout_s: longest time for a new replica to become ready.
        keep_previous_s: how long the revision before stays warm after a rollout.
        drain_timeout_s: longest time for requests of a replica that is to end; *revision*.
        restarts: crashes of coming replicas after which a rollout fails.
        service_options: options of `dosirak serve` by name, such as `timeout_s`; *revision*.
    """

    environment: dict[VariableName, VariableText] = Field(default_factory=dict)
    secrets: tuple[VariableName, ...] = ()
    labels: dict[LabelText, LabelText] = Field(default_factory=dict)
    scaling: Scaling = Scaling()
    access: Access = Access.PUBLIC
    strategy: StrategyName = StrategyName.ROLLING
    canary: Canary = Canary()
    promote_by_hand: bool = False
    max_surge: int = Field(default=1, ge=1, le=1000)
    resources: Resources = Resources()
    hosts: tuple[HostName, ...] = ()
    port: int | None = Field(default=None, ge=1, le=65535)
    timeout_s: float = Field(default=60.0, gt=0, le=86400)
    max_requests: int = Field(default=4096, ge=1, le=1_000_000)
    ready_timeout_s: float = Field(default=600.0, gt=0, le=86400)
    keep_previous_s: float = Field(default=600.0, ge=0, le=30 * 86400)
    drain_timeout_s: float = Field(default=30.0, ge=0, le=3600)
    restarts: int = Field(default=3, ge=1, le=100)
    service_options: dict[LabelText, LabelText | int | float | bool] = Field(default_factory=dict)

    def needs_new_revision(self, other: DeploymentConfiguration) -> bool:
        """Whether replicas with this configuration run differently from those with the other."""
        return any(getattr(self, name) != getattr(other, name) for name in REVISION_FIELDS)

    def running_as(self, other: DeploymentConfiguration) -> DeploymentConfiguration:
        """Return this configuration with what makes a revision taken from the other one.

        Who may call, names, bounds and limits belong to the deployment: going back to an earlier
        revision does not bring theirs back.
        """
        return self.model_copy(update={name: getattr(other, name) for name in REVISION_FIELDS})
