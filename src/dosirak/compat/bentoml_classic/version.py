"""The classic version this door answers to, and the names it goes by."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

# BentoML 0.13.2 is the behaviour; the local label says whose code it is.
CLASSIC_VERSION = "0.13.2+dosirak.0.1.0"
DISTRIBUTION = "bentoml"


def own_requirements() -> list[str]:
    """Return what a saved service needs of this project, as it is installed here."""
    found: list[str] = []
    for name in (DISTRIBUTION, "dosirak"):
        try:
            # The local label stays: without it the pin would name another project's package.
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found
