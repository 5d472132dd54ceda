"""Requests to a service and its responses, over real sockets."""

from __future__ import annotations

import json
import os
import re
import socket
import threading

import numpy as np
import pytest
from support.asgi_server import Raw, assert_refused
from support.concurrency import until

import waterfill as wf
from waterfill.server import ServerSettings, app, create_app

FLOATS = {"content-type": "application/octet-stream; dtype=float32"}
JSON = {"content-type": "application/json"}


def lists(found):
    distances, ids = found
    return {"ids": ids.tolist(), "distances": distances.tolist(), "generation": 1}


def test_search(client, rows, index):
    body = {"vectors": rows[:3].tolist(), "k": 5}
    assert client.post("/search", json=body).json() == lists(index.search(rows[:3], 5))
    body = {"vector": rows[7].tolist()}
    assert client.post("/search", json=body).json() == lists(index.search(rows[7:8], 10))
    answer = client.post("/search?k=5", content=rows[:3].tobytes(), headers=FLOATS)
    assert answer.json() == lists(index.search(rows[:3], 5))


def test_places_where_nothing_was_found_are_left_out(client, rows):
    body = {"vectors": rows[:2].tolist(), "ids": [3, 4, 5000]}
    found = client.post("/search", json=body).json()
    assert [sorted(ids) for ids in found["ids"]] == [[3, 4], [3, 4]]
    assert [len(row) for row in found["distances"]] == [2, 2]
    found = client.post("/search", json=body | {"ids": []}).json()
    assert found["ids"] == found["distances"] == [[], []]


def test_parameters_of_lists(files, rows, client):
    plan = wf.Plan.waterfill(wf.analyze(rows), code_bytes=4)
    index = wf.IndexIVF(wf.Codec.train(rows, plan, cells=16), 16)
    index.add(rows)
    wf.write_index(index, files / "lists.wf")
    assert client.post("/swap", json={"file": "lists.wf"}).json()["generation"] == 2
    for nprobe in (1, 16):
        found = client.post("/search", json={"vectors": rows[:9].tolist(), "nprobe": nprobe})
        expected = index.search(rows[:9], 10, params=wf.SearchParameters(nprobe=nprobe))
        assert found.json()["generation"] == 2
        if nprobe == 16:
            assert found.json()["ids"] == expected[1].tolist()


def test_add(client, rows):
    new = rows[:2].tolist()
    assert client.post("/add", json={"vectors": new}).json() == {
        "added": 2,
        "ids": [1000, 1001],
        "ntotal": 1002,
    }
    body = {"vectors": new, "ids": [77_777, 77_778]}
    assert client.post("/add", json=body).json() == {
        "added": 2,
        "ids": [77_777, 77_778],
        "ntotal": 1004,
    }
    answer = client.post("/add", content=rows[:3].tobytes(), headers=FLOATS)
    assert answer.json() == {"added": 3, "ids": [77_779, 77_780, 77_781], "ntotal": 1007}
    found = client.post("/search", json={"vector": new[0], "ids": [1000, 77_777, 1]}).json()
    assert set(found["ids"][0]) == {1000, 77_777, 1}
    assert 'waterfill_index_vectors{index="default"} 1007.0' in client.get("/metrics").text


def test_swap(client, rows, files):
    assert client.post("/swap", json={"file": "two.wf"}).json() == {"generation": 2, "ntotal": 1000}
    expected = wf.read_index(files / "two.wf").search(rows[:3], 10)
    found = client.post("/search", json={"vectors": rows[:3].tolist()}).json()
    assert found == lists(expected) | {"generation": 2}
    refused = client.post("/swap", json={"file": "other.wf"})
    assert refused.status_code == 409
    assert "other ids" in refused.json()["reasons"][0]
    answer = client.post("/swap", json={"file": "other.wf", "same_ids": False})
    assert answer.json() == {"generation": 3, "ntotal": 500}


def test_counts_go_on_over_a_swap(client, rows):
    def batches():
        text = client.get("/metrics").text
        return float(re.search(r"waterfill_batcher_batches_total\S+ (\S+)", text)[1])

    client.post("/search", json={"vector": rows[0].tolist()})
    before = batches()
    client.post("/search", json={"vector": rows[0].tolist()})
    assert client.post("/swap", json={"file": "two.wf"}).status_code == 200
    client.post("/search", json={"vector": rows[0].tolist()})
    assert batches() == before + 2


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("missing.wf", 404),
        ("bad.wf", 422),
        ("../one.wf", 422),
        ("/etc/passwd", 422),
        ("..", 422),
        (".", 422),
        ("", 422),
        ("a\0b", 422),
        ("..\\one.wf", 422),
        (".hidden", 422),
        ("\ud800", 422),
        ("x" * 300, 422),
        (None, 422),
        (["one.wf"], 422),
        ("link.wf", 403),
        ("inner.wf", 403),
        ("pipe", 403),
        ("directory", 403),
    ],
)
def test_nothing_beyond_the_folder(client, files, tmp_path, name, status):
    (tmp_path / "secret.wf").write_bytes((files / "two.wf").read_bytes())
    for link, target in (("link.wf", tmp_path / "secret.wf"), ("inner.wf", "two.wf")):
        (files / link).unlink(missing_ok=True)
        (files / link).symlink_to(target)
    if not (files / "pipe").exists():
        os.mkfifo(files / "pipe")
        (files / "directory").mkdir()
    answer = client.post("/swap", content=json.dumps({"file": name}), headers=JSON)
    assert answer.status_code == status
    assert str(files) not in answer.text
    assert "/dev" not in answer.text
    assert client.service.index.generation == 1


def test_without_a_folder_nothing_is_swapped(index):
    app = create_app(index, ServerSettings())
    assert app.state.service.settings.swap_folder is None
    with pytest.raises(ValueError, match="swap_folder='/nowhere' is not a directory"):
        ServerSettings(swap_folder="/nowhere")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "either vectors"),
        ({"vector": [1.0] * 8, "vectors": [[1.0] * 8]}, "either vectors"),
        ([], "the body must be an object, got an array"),
        ({"vector": [1, 2]}, "vector has 2 dimensions, expected 8"),
        ({"vectors": [1.0] * 8}, "vectors must have shape"),
        ({"vectors": [[1.0] * 8, [1.0]]}, "vectors: row 1: expected 8 numbers, got 1"),
        ({"vectors": []}, "vectors must be an array of arrays of 8 numbers, got []"),
        ({"vectors": [["a"] * 8]}, "vectors must hold real numbers"),
        ({"vectors": [[None] * 8]}, "vectors: row 0: expected 8 numbers, got a null"),
        ({"vectors": [[True] * 8]}, "vectors must hold numbers, got true or false"),
        ({"vectors": [[1e39] * 8]}, "vectors"),
        ({"vectors": [[10**400] * 8]}, "vectors"),
        ({"vectors": [[1.0] * 8] * 17}, "len(vectors)=17 must be at most 16"),
        ({"vector": [1.0] * 8, "k": 0}, "k=0 must be at least 1"),
        ({"vector": [1.0] * 8, "k": 51}, "k=51 must be at most 50"),
        ({"vector": [1.0] * 8, "k": 10**30}, "must be at most 50"),
        ({"vector": [1.0] * 8, "k": "x" * 5000}, "k must be an int"),
        ({"vector": [1.0] * 8, "k": None}, "k must be an int"),
        ({"vector": [1.0] * 8, "nprobe": 3}, "nprobe=3 is for indexes with inverted lists"),
        ({"vector": [1.0] * 8, "nprobe": 10**30}, "nprobe"),
        ({"vector": [1.0] * 8, "k_factor": 0.5}, "k_factor=0.5 must be at least 1"),
        ({"vector": [1.0] * 8, "ids": [1.5]}, "ids must hold integers within int64, got 1.5"),
        ({"vector": [1.0] * 8, "ids": [2**63]}, "ids must hold integers within int64"),
        ({"vector": [1.0] * 8, "ids": 3}, "ids must be an array of integers, got 3"),
        ({"vector": [1.0] * 8, "l": 3}, "unknown field 'l', expected"),
        ({"vector": [1.0] * 8, "\ud800": 3}, "unknown field"),
    ],
)
def test_bad_input_is_named(client, body, words):
    answer = client.post("/search", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert len(answer.text) < 1000


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b'{"vector": [NaN]}', JSON, 400),
        (b'{"vector": [Infinity]}', JSON, 400),
        (b"[" * 9000, JSON, 400),
        (b"1" * 9000, JSON, 400),
        (b"{}", {}, 415),  # what a page of another origin can make a browser send
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"", FLOATS, 422),
        (b"123", FLOATS, 422),
        (np.full(8, np.nan, "<f4").tobytes(), FLOATS, 422),
        (bytes(32 * 17), FLOATS, 422),
        (bytes(20_001), FLOATS, 413),
        (bytes(20_001), JSON, 413),
    ],
)
def test_bad_bodies(client, data, headers, status):
    for path in ("/search", "/add"):
        answer = client.post(path, content=data, headers=headers)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}


def test_bad_additions(client):
    vector = [1.0] * 8
    for body in ({}, {"vectors": [vector], "ids": [1, 2]}, {"vectors": [vector], "ids": [-1]}):
        assert client.post("/add", json=body).status_code == 422
    assert client.service.index.ntotal == 1000


@pytest.mark.parametrize("query", ["k=0", "k=x", "k=1e3", "n=3", "nprobe=1", "k_factor=nan"])
def test_bad_urls(client, query):
    answer = client.post(f"/search?{query}", content=bytes(32), headers=FLOATS)
    assert answer.status_code == 422


def test_other_paths_and_methods(client):
    assert client.get("/docs").status_code == 404
    assert client.get("/search").status_code == 405
    assert "post" in client.get("/openapi.json").json()["paths"]["/search"]


def test_too_much_is_refused_while_it_comes(client):
    def parts():
        for _ in range(10):
            yield bytes(10_000)

    answer = client.post("/search", content=parts(), headers=FLOATS)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    with Raw(client.base_url.port) as raw:  # said before anything of it comes
        raw.send("POST", "/search", Content_Length=10**12, Content_Type="application/json")
        assert raw.answer()[0] == 413
        assert raw.answer() is None


def test_a_slow_body_gives_its_permit_back(client):
    limiter = client.service.limiter
    with Raw(client.base_url.port) as raw:
        raw.send("POST", "/search", b"{", Content_Length=100, Content_Type="application/json")
        status, headers, _ = raw.answer()
        assert (status, headers["connection"]) == (408, "close")
    until(lambda: limiter.in_use == 0)


def test_bytes_that_are_no_http(client):
    for data in (
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", client.base_url.port), timeout=60) as raw:
            raw.sendall(data)
            assert raw.recv(1000)[9:12] in (b"400", b"421")
    assert client.get("/healthz").status_code == 200


def test_at_capacity(client, rows):
    limiter = client.service.limiter
    with limiter.acquire(cost=4):
        answer = client.post("/search", json={"vector": rows[0].tolist()})
        assert_refused(answer.status_code, answer.headers, answer.content)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
        assert client.post("/swap", json={"file": "two.wf"}).status_code == 200
    counted = '{limiter="service",outcome="refused_capacity",priority="default"}'
    assert f"waterfill_requests_total{counted}" in client.get("/metrics").text


@pytest.mark.parametrize("kind", ["json", "floats"])
def test_large_bodies_and_results_leave_the_event_loop_free(client, rows, monkeypatch, kind):
    threads = {}

    def recorded(name, call):
        def record(*arguments):
            threads[name] = threading.current_thread().name
            return call(*arguments)

        return record

    for name in ("read_search", "found_answer"):
        monkeypatch.setattr(app, name, recorded(name, getattr(app, name)))
    monkeypatch.setattr(app, "_SMALL_BODY", 500)
    both = ("read_search", "found_answer")
    for n, k, large in ((1, 1, ()), (16, 1, both[:1]), (16, 50, both)):
        if kind == "json":
            document = {"vectors": rows[:n].tolist(), "k": k}
            answer = client.post("/search", json=document)
        else:
            answer = client.post(f"/search?k={k}", content=rows[:n].tobytes(), headers=FLOATS)
        assert answer.status_code == 200
        offloaded = {name for name, thread in threads.items() if "waterfill-search" in thread}
        assert offloaded == set(large)


def test_a_large_search_is_not_batched(client, rows, monkeypatch):
    """It would hold up the small ones behind it."""
    queue = client.service._batcher_of(client.service.index.current())._queue
    monkeypatch.setattr(queue, "_max_waiting", 0)
    monkeypatch.setattr("waterfill.server.service._MAX_BATCHED", 20)
    for k, status in ((20, 503), (21, 200)):
        answer = client.post(f"/search?k={k}", content=rows[:1].tobytes(), headers=FLOATS)
        assert answer.status_code == status


def test_a_full_batcher_refuses_as_the_limiter_does(client, rows, monkeypatch):
    queue = client.service._batcher_of(client.service.index.current())._queue
    monkeypatch.setattr(queue, "_max_waiting", 0)
    answer = client.post("/search", json={"vector": rows[0].tolist()})
    assert_refused(answer.status_code, answer.headers, answer.content)


def test_draining(client):
    client.service.draining = True
    for path, status in (("/readyz", 503), ("/healthz", 200), ("/nowhere", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["connection"] == "close"
