"""Index files, a folder, and services that run in a thread."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from support.asgi_server import serve

import waterfill as wf
from waterfill.server import ServerSettings, create_app

D = 8


@pytest.fixture(scope="session")
def rows():
    rng = np.random.default_rng(2)
    return (rng.standard_normal((1000, D)) * np.geomspace(3, 0.5, D)).astype(np.float32)


def built(rows, seed=0):
    index = wf.IndexFlat(wf.Recipe(D, 4, effort="fast", seed=seed).train(rows, "ip"))
    index.add(rows)
    return index


@pytest.fixture(scope="session")
def files(rows, tmp_path_factory):
    """A folder: one.wf is served, two.wf has another codec, other.wf other vectors."""
    folder = tmp_path_factory.mktemp("indexes")
    wf.write_index(built(rows), folder / "one.wf")
    wf.write_index(built(rows, seed=1), folder / "two.wf")
    wf.write_index(built(rows[:500]), folder / "other.wf")
    (folder / "bad.wf").write_bytes(b"nothing of ours")
    return folder


@pytest.fixture
def index(files):
    return wf.read_index(files / "one.wf")


@pytest.fixture(scope="session")
def served(files):
    """A client of a service with low bounds."""
    settings = ServerSettings(
        limit=4, max_body=20_000, max_vectors=16, max_k=50, swap_folder=files, body_seconds=1.0
    )
    app = create_app(wf.read_index(files / "one.wf"), settings)
    with (
        serve(app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        client.service = app.state.service
        yield client


@pytest.fixture
def client(served, index):
    """The same, with the index as it was at the start."""
    served.service.take(wf.SwapIndex(index))
    served.service.draining = False
    return served


@pytest.fixture
def folder(files, rows, tmp_path):
    """A folder with 200 vectors, whose rows tell exactly which they are."""
    path = tmp_path / "a.wfx"
    with wf.open_index(path, "w", codec=wf.read_codec(files / "one.wf"), refine="float16") as index:
        index.add(rows[:200])
    return path
