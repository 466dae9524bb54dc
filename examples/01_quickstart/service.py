"""Two models behind one API. The type hints are its contract."""

import numpy as np
import pandas as pd

import dosirak


@dosirak.service
class Tumour:
    """Says how likely a tumour is benign, from its measurements."""

    forest = dosirak.model("tumour-forest:latest")
    boosted = dosirak.model("tumour-boosted:latest")

    @dosirak.api(batchable=True, max_batch_size=64, max_latency_ms=10)
    def predict(self, measurements: pd.DataFrame) -> np.ndarray:
        """Return the probability that each tumour is benign: the mean of both models."""
        forest = self.forest.predict_proba(measurements)[:, 1]
        boosted = self.boosted.predict_proba(measurements)[:, 1]
        return (forest + boosted) / 2
