"""mosec: `mosec_app.py WORKLOAD PORT WORKERS`."""

from __future__ import annotations

import io
import sys

import models
import numpy as np
from mosec import Server, Worker


class Echo(Worker):
    def forward(self, data):
        return data["value"]


class Iris(Worker):
    def __init__(self):
        self.model = models.iris_model()

    def forward(self, data):
        return models.predict(self.model, data["rows"])


class IrisBatched(Iris):
    def forward(self, data):
        return [[one] for one in models.predict(self.model, [item["rows"][0] for item in data])]


class Slow(Worker):
    def forward(self, data):
        return [[one] for one in models.slow([item["rows"][0] for item in data])]


class Cpu(Worker):
    def forward(self, data):
        return models.busy(data["value"])


class Tensor(Worker):
    def deserialize(self, data):
        return np.load(io.BytesIO(data), allow_pickle=False)

    def forward(self, data):
        return float(data[0])


APPS = {
    "echo": (Echo, 1),
    "iris": (Iris, 1),
    "iris_batched": (IrisBatched, 64),
    "slow": (Slow, 64),
    "tensor": (Tensor, 1),
    "cpu": (Cpu, 1),
}

if __name__ == "__main__":
    worker, batch = APPS[sys.argv[1]]
    port, workers = sys.argv[2], int(sys.argv[3])
    sys.argv = [sys.argv[0], "--address", "127.0.0.1", "--port", port, "--log-level", "error"]
    server = Server()
    if batch > 1:
        server.append_worker(worker, num=workers, max_batch_size=batch, max_wait_time=10)
    else:
        server.append_worker(worker, num=workers)
    server.run()
