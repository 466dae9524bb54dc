"""LitServe: `litserve_app.py WORKLOAD PORT`."""

from __future__ import annotations

import sys

import litserve as ls
import models


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


APPS = {"echo": (Echo, 1), "iris": (Iris, 1), "iris_batched": (IrisBatched, 64),
        "slow": (Slow, 64)}  # fmt: skip

if __name__ == "__main__":
    app, batch = APPS[sys.argv[1]]
    api = app(max_batch_size=batch, batch_timeout=0.01) if batch > 1 else app()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", num_api_servers=1, log_level="error",
               generate_client_file=False)  # fmt: skip
