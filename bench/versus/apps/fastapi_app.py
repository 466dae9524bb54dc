"""FastAPI: served by uvicorn, `uvicorn fastapi_app:app --port PORT --workers WORKERS`."""

from __future__ import annotations

import io

import models
import numpy as np
from fastapi import FastAPI, Request
from pydantic import BaseModel

app = FastAPI()
MODEL = models.iris_model()


class Value(BaseModel):
    value: int


class Rows(BaseModel):
    rows: list[list[float]]


# Coroutines: for calls this short a thread for each would cost more than it gives.
@app.post("/echo")
async def echo(body: Value) -> int:
    return body.value


@app.post("/iris")
async def iris(body: Rows) -> list[int]:
    return models.predict(MODEL, body.rows)


@app.post("/cpu")
async def cpu(body: Value) -> int:
    return models.busy(body.value)


@app.post("/tensor")
async def tensor(request: Request) -> float:
    return float(np.load(io.BytesIO(await request.body()), allow_pickle=False)[0])
