"""Tables that hypothesis makes up, and a few by hand."""

from __future__ import annotations

from hypothesis import strategies as st

from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable, Upstream

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,6}[a-z0-9])?", fullmatch=True).filter(
    lambda name: ".." not in name
)
PATHS = st.sampled_from(["/predict", "/embed", "/a/b", "/work"])


@st.composite
def revisions(draw: st.DrawFn, number: int) -> RoutedRevision:
    count = draw(st.integers(0, 2))
    return RoutedRevision(
        number,
        draw(st.integers(0, 100)),
        tuple(Upstream(f"r{number}-{one}", f"/run/r{number}-{one}.sock") for one in range(count)),
        tuple(draw(st.sets(PATHS))),
        draw(st.booleans()),
    )


@st.composite
def deployments(draw: st.DrawFn, name: str) -> RoutedDeployment:
    numbers = draw(st.sets(st.integers(1, 30), max_size=2))
    return RoutedDeployment(
        name,
        tuple(draw(revisions(number)) for number in sorted(numbers)),
        hosts=tuple(draw(st.sets(st.sampled_from(["x.example", "y.example", "localhost"])))),
        port=draw(st.sampled_from([None, 8800, 9001, 9002])),
        timeout_s=draw(st.sampled_from([1.0, 60.0, 900.0])),
        canary_header=draw(st.sampled_from([None, ("x-try", "always")])),
        canary_revision=draw(st.sampled_from([None, *numbers])),
    )


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    names = draw(st.sets(NAMES, max_size=3))
    return RoutingTable(tuple(draw(deployments(name)) for name in sorted(names)))
