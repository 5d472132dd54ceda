"""A service on a managed folder: it answers from the first vector, and trains beside requests."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from support.managed import ENOUGH, open_managed, recall, some_vectors, true_ids

from waterfill.server import ServerSettings, create_app

PATIENCE = 120.0  # seconds: far more than a busy machine needs


def test_it_trains_while_it_serves(tmp_path: Path) -> None:
    open_managed(tmp_path / "a.wfx").close()
    x, queries = some_vectors(ENOUGH), some_vectors(20, seed=5)
    app = create_app(tmp_path / "a.wfx", ServerSettings(names=["testserver"]))
    with TestClient(app) as client:

        def ask() -> np.ndarray:
            answer = client.post("/search", json={"vectors": queries.tolist(), "k": 10})
            assert answer.status_code == 200
            return np.array(answer.json()["ids"])

        end = time.monotonic() + PATIENCE
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < end
        for first in range(0, ENOUGH, 512):
            part = x[first : first + 512]
            ids = list(range(first, first + len(part)))
            answer = client.post("/upsert", json={"ids": ids, "vectors": part.tolist()})
            assert answer.status_code == 200, answer.text
            assert answer.json()["upserted"] == len(part)
        while app.state.service.index.index.health().phase == "exact":
            assert recall(ask(), true_ids(x, queries, "ip")) > 0.9
            assert time.monotonic() < end
        assert recall(ask(), true_ids(x, queries, "ip")) > 0.9
    with open_managed(tmp_path / "a.wfx") as index:
        assert index.ntotal == ENOUGH
        assert index.history[0].what == "trained"
