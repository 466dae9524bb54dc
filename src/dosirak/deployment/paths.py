"""Where the platform's files are, all under `DOSIRAK_HOME/platform`, readable by their owner alone.

| path | what |
|---|---|
| `platform.db`, `backups/` | desired state, and copies of it |
| `audit.jsonl` | who changed what, in a chain of hashes |
| `control.json`, `control.lock`, `control.log` | the control plane's address, process and log |
| `router/` | Envoy's files, its process and its log |
| `replicas/ID/` | a replica's order, process record and socket |
| `logs/DEPLOYMENT/` | what replicas printed; it outlives them |
| `environments/` | virtual environments of bundles, by the digest of what is in them |
| `access/DEPLOYMENT.json` | hashes of the tokens that callers of a deployment may have |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PlatformPaths:
    """The places, from the one folder `home` (`DOSIRAK_HOME`)."""

    home: Path

    @property
    def root(self) -> Path:
        """The folder of everything else here."""
        return self.home / "platform"

    @property
    def database(self) -> Path:
        """The embedded database."""
        return self.root / "platform.db"

    @property
    def backups(self) -> Path:
        """Copies of the database."""
        return self.root / "backups"

    @property
    def audit_log(self) -> Path:
        """The chained log of mutations."""
        return self.root / "audit.jsonl"

    @property
    def control_record(self) -> Path:
        """Address and process of the running control plane."""
        return self.root / "control.json"

    @property
    def control_lock(self) -> Path:
        """Held by the one control plane of this home."""
        return self.root / "control.lock"

    @property
    def control_log(self) -> Path:
        """What the control plane says."""
        return self.root / "control.log"

    @property
    def secret_key(self) -> Path:
        """The key that secrets are encrypted with: beside the data folder, not in it."""
        return self.home / "platform-secret.key"

    @property
    def router(self) -> Path:
        """Envoy's folder."""
        return self.root / "router"

    @property
    def replicas(self) -> Path:
        """One folder for each replica."""
        return self.root / "replicas"

    @property
    def logs(self) -> Path:
        """One folder for each deployment."""
        return self.root / "logs"

    @property
    def environments(self) -> Path:
        """Virtual environments."""
        return self.root / "environments"

    @property
    def access(self) -> Path:
        """One file for each deployment that wants tokens."""
        return self.root / "access"
