"""What requests to the control plane say, checked by pydantic: unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.state.tokens import DEFAULT_LIFETIME_S

Note = Annotated[str, StringConstraints(max_length=1000)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=260)]
Replicas = Annotated[int, Field(ge=0, le=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Noted(_Body):
    """What every change may say.

    Attributes:
        generation: that of the deployment as it was seen; `If-Match` says the same.
    """

    note: Note = ""
    generation: int | None = Field(default=None, ge=0)


class CreateDeployment(_Body):
    """A new deployment."""

    name: Annotated[str, StringConstraints(max_length=128)]
    bundle: Reference
    configuration: DeploymentConfiguration = DeploymentConfiguration()
    note: Note = ""


class UpdateDeployment(_Noted):
    """Another bundle or some other settings; what is not named stays, null is the default."""

    bundle: Reference | None = None
    configuration: dict[str, Any] = Field(default_factory=dict)


class ApplyDeployment(_Noted):
    """All that a deployment is to be."""

    bundle: Reference
    configuration: DeploymentConfiguration = DeploymentConfiguration()


class ScaleDeployment(_Noted):
    """How many replicas, or between what bounds."""

    replicas: Replicas | None = None
    min_replicas: Replicas | None = None
    max_replicas: Replicas | None = None


class RollBack(_Noted):
    """To which revision; the one before when None."""

    to: int | None = Field(default=None, ge=1)


class SetWeight(_Noted):
    """The share of the coming revision."""

    weight_percent: int = Field(ge=0, le=100)


class Plain(_Noted):
    """A verb that needs nothing more."""


class CreateToken(_Body):
    """A new token.

    Attributes:
        scopes: such as `deploy:read:*`, `deploy:write:iris`, `infer:iris`, `audit:read`, `admin`.
        expires_in_s: how long it is good; None for as long as it is not revoked.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    scopes: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        min_length=1, max_length=100
    )
    expires_in_s: float | None = Field(default=DEFAULT_LIFETIME_S, gt=0, le=10 * 366 * 86400)


class SetSecret(_Body):
    """A secret's value, which is never shown again."""

    value: SecretStr = Field(min_length=1, max_length=65536)
