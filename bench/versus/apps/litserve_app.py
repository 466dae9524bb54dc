"""LitServe: `litserve_app.py WORKLOAD PORT WORKERS`."""

from __future__ import annotations

import io
import sys

import litserve as ls
import models
import numpy as np


class Api(ls.LitAPI):
    def setup(self, device):
        self.model = models.iris_model()

    def encode_response(self, output):
        return output


class Echo(Api):
    def decode_request(self, request):
        return request["value"]

    def predict(self, x):
        return x


class Iris(Api):
    def decode_request(self, request):
        return request["rows"]

    def predict(self, x):
        return models.predict(self.model, x)


class IrisBatched(Api):
    def decode_request(self, request):
        return request["rows"][0]

    def batch(self, inputs):
        return inputs

    def unbatch(self, output):
        return output

    def predict(self, x):
        return [[one] for one in models.predict(self.model, x)]


class Slow(IrisBatched):
    def predict(self, x):
        return [[one] for one in models.slow(x)]


class Cpu(Echo):
    def predict(self, x):
        return models.busy(x)


class Tensor(Api):
    def decode_request(self, request):
        return np.load(io.BytesIO(request["data"].file.read()), allow_pickle=False)

    def predict(self, x):
        return float(x[0])


APPS = {"echo": (Echo, 1), "iris": (Iris, 1), "iris_batched": (IrisBatched, 64),
        "slow": (Slow, 64), "cpu": (Cpu, 1), "tensor": (Tensor, 1)}  # fmt: skip

if __name__ == "__main__":
    app, batch = APPS[sys.argv[1]]
    api = app(max_batch_size=batch, batch_timeout=0.01) if batch > 1 else app()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[3]))
    server.run(port=int(sys.argv[2]), host="127.0.0.1", num_api_servers=1, log_level="error",
               generate_client_file=False)  # fmt: skip
