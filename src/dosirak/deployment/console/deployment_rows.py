"""The rows of the list of deployments: views with the numbers of the moment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dosirak.deployment.console.drawings import spark_points
from dosirak.deployment.console.figures import milliseconds_text, percent_text, rate_text
from dosirak.deployment.control.traffic_history import TrafficPoint
from dosirak.deployment.views import DeploymentStatus, DeploymentView

SPARK_SLOTS = 60
TONES = {
    DeploymentStatus.RUNNING: "good",
    DeploymentStatus.DEPLOYING: "busy",
    DeploymentStatus.TERMINATING: "busy",
    DeploymentStatus.UNHEALTHY: "bad",
    DeploymentStatus.FAILED: "bad",
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a row says of the traffic; the browser replaces these every two seconds."""

    requests: str
    errors: str
    p95: str
    spark: str
    failing: bool


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """One line of the list."""

    view: DeploymentView
    tone: str
    numbers: Numbers


def tone_of(status: DeploymentStatus) -> str:
    """Return the colour of a status: good, busy, bad or calm."""
    return TONES.get(status, "calm")


def numbers_of(point: TrafficPoint | None, rates: Sequence[float]) -> Numbers:
    """Return what is written of a deployment's traffic."""
    now = point or TrafficPoint()
    return Numbers(
        requests=rate_text(now.requests_per_s if point else None),
        errors=percent_text(now.errors_per_s, now.requests_per_s) if point else "–",
        p95=milliseconds_text(now.p95_ms),
        spark=spark_points(rates, SPARK_SLOTS),
        failing=now.errors_per_s > 0,
    )


def deployment_rows(
    views: Iterable[DeploymentView],
    latest: Mapping[str, TrafficPoint],
    rates: Mapping[str, Sequence[float]],
) -> list[DeploymentRow]:
    """Return a row for each deployment, in the order given."""
    return [
        DeploymentRow(
            view,
            tone_of(view.status.status),
            numbers_of(latest.get(view.name), rates.get(view.name, ())),
        )
        for view in views
    ]
