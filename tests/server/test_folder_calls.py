"""Requests to a service of an index in a folder, over real sockets."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from support.concurrency import PATIENCE
from support.service_client import client_of

import waterfill as wf

D = 8
JSON = {"content-type": "application/json"}
FLOATS = {"content-type": "application/octet-stream; dtype=float32"}


@pytest.fixture
def client(folder):
    with client_of(folder, limit=16, max_vectors=16) as client:
        client.folder = folder
        yield client


def held(path):
    """Return what a folder holds, as other processes see it: vectors by id."""
    with wf.open_index(path) as index:
        ids = index.ids()
        return dict(zip(ids.tolist(), index.reconstruct_batch(ids), strict=True))


def assert_same(vector, row):
    np.testing.assert_array_equal(vector, np.float32(np.float16(row)))


def test_search_is_that_of_the_folder(client, rows):
    with wf.open_index(client.folder) as index:
        distances, ids = index.search(rows[:3], 5)
    found = client.post("/search", json={"vectors": rows[:3].tolist(), "k": 5}).json()
    assert found == {"ids": ids.tolist(), "distances": distances.tolist(), "generation": 1}


def test_what_was_added_is_in_the_folder_and_its_ids_are_returned(client, rows):
    answer = client.post("/add", json={"vectors": rows[200:202].tolist()})
    assert answer.json() == {"added": 2, "ids": [200, 201], "ntotal": 202}
    answer = client.post("/add", content=rows[202:203].tobytes(), headers=FLOATS)
    assert answer.json() == {"added": 1, "ids": [202], "ntotal": 203}
    answer = client.post("/add", json={"vectors": rows[203:204].tolist(), "ids": [-5]})
    assert answer.json() == {"added": 1, "ids": [-5], "ntotal": 204}
    now = held(client.folder)
    for id, row in ((200, 200), (201, 201), (202, 202), (-5, 203)):
        assert_same(now[id], rows[row])
    assert 'waterfill_index_vectors{index="default"} 204.0' in client.get("/metrics").text


def test_upsert_replaces_vectors_by_id(client, rows):
    body = {"ids": [7, 5000], "vectors": rows[300:302].tolist()}
    for _ in range(2):  # a client may repeat it
        answer = client.post("/upsert", json=body)
        assert answer.json() == {"upserted": 2, "ntotal": 201}
    now = held(client.folder)
    assert_same(now[7], rows[300])
    assert_same(now[5000], rows[301])
    found = client.post("/search", json={"vector": rows[300].tolist(), "ids": [7], "k": 2}).json()
    assert found["ids"] == [[7]]
    answer = client.post("/add", json={"vectors": rows[:1].tolist()})
    assert answer.json()["ids"] == [5001]


def test_remove_and_delete(client):
    answer = client.post("/remove", json={"ids": [3, 4, 4, 900]})
    assert answer.json() == {"removed": 2, "ntotal": 198}
    assert client.delete("/vectors/5").json() == {"removed": 1, "ntotal": 197}
    again = client.delete("/vectors/5")
    assert again.status_code == 404
    assert again.json() == {"error": "no vector has id 5"}
    assert client.post("/remove", json={"ids": []}).json() == {"removed": 0, "ntotal": 197}
    assert sorted(held(client.folder)) == [0, 1, 2, *range(6, 200)]


def test_delete_removes_all_vectors_with_an_id(client, rows):
    client.post("/add", json={"vectors": rows[:2].tolist(), "ids": [-7, -7]})
    assert client.delete("/vectors/-7").json() == {"removed": 2, "ntotal": 200}


@pytest.mark.parametrize("id", ["x", "1.5", "1e3", "9223372036854775808", "9" * 5000, "%20", "٣"])
def test_bad_ids_in_the_path(client, id):
    answer = client.delete(f"/vectors/{id}")
    assert answer.status_code == 422
    assert "the id must be an integer within int64" in answer.json()["error"]


VECTOR = [1.0] * D


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/upsert", {"vectors": [VECTOR]}, "ids is missing"),
        ("/upsert", {"ids": [1]}, "vectors is missing"),
        ("/upsert", {"ids": [1], "vectors": [VECTOR] * 2}, "one id for each of 2 vectors, got 1"),
        ("/upsert", {"ids": [1, 1], "vectors": [VECTOR] * 2}, "ids must be distinct"),
        ("/upsert", {"ids": [-1], "vectors": [VECTOR]}, "ids must not contain -1"),
        ("/upsert", {"ids": [2**63], "vectors": [VECTOR]}, "ids must hold integers within int64"),
        ("/upsert", {"ids": [1], "vectors": [[1.0]]}, "expected 8"),
        ("/upsert", {"ids": [1], "vectors": [VECTOR], "k": 3}, "unknown field 'k'"),
        ("/remove", {}, "ids is missing"),
        ("/remove", {"ids": 3}, "ids must be an array of integers, got 3"),
        ("/remove", {"ids": [1.5]}, "ids must hold integers within int64, got 1.5"),
        ("/remove", {"ids": [True]}, "ids must hold numbers, got true or false"),
        ("/remove", {"id": [1]}, "unknown field 'id', expected ids"),
        ("/remove", [1], "the body must be an object"),
    ],
)
def test_bad_changes_are_named_and_change_nothing(client, path, body, words):
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert client.service.index.ntotal == 200


@pytest.mark.parametrize("path", ["/upsert", "/remove"])
def test_changes_by_id_are_json(client, path):
    assert client.post(path, content=bytes(32), headers=FLOATS).status_code == 415
    assert client.post(f"{path}?k=3", json={"ids": []}).status_code == 422
    assert client.post(path, content=b"{", headers=JSON).status_code == 400


def test_ids_are_used_up(client):
    body = {"vectors": [VECTOR], "ids": [2**63 - 1]}
    assert client.post("/add", json=body).status_code == 200
    answer = client.post("/add", json={"vectors": [VECTOR]})
    assert answer.status_code == 422
    assert "no ids are left" in answer.json()["error"]


def test_a_folder_is_not_swapped(folder, files):
    with client_of(folder, swap_folder=files) as client:
        answer = client.post("/swap", json={"file": "one.wf"})
    assert answer.status_code == 403
    assert "change it by /add, /upsert and /remove" in answer.json()["error"]


def changes(client):
    """Try each way to change an index; return the statuses and errors."""
    answers = [
        client.post("/add", json={"vectors": [VECTOR]}),
        client.post("/upsert", json={"ids": [1], "vectors": [VECTOR]}),
        client.post("/remove", json={"ids": [1]}),
        client.delete("/vectors/1"),
    ]
    return [(answer.status_code, answer.json().get("error")) for answer in answers]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_read_only_service_refuses_changes(folder, files, rows, kind):
    with client_of({"folder": folder, "file": files / "one.wf"}[kind], read_only=True) as client:
        assert changes(client) == [(403, "this service is read-only")] * 4
        assert client.post("/search", json={"vector": rows[0].tolist()}).status_code == 200


def test_an_index_that_was_opened_to_read(folder):
    with wf.open_index(folder) as index, client_of(index) as client:
        assert changes(client) == [(403, "this service is read-only")] * 4


def test_an_index_in_memory(files, rows):
    with client_of(files / "one.wf") as client:
        found = changes(client)
        assert [status for status, _ in found] == [200, 403, 403, 403]
        assert "needs an index in a folder" in found[1][1]
        assert "removing would change those of others" in found[2][1]
        assert client.service.changed
    index = wf.IndexFlat(wf.read_codec(files / "one.wf"))
    index.add_with_ids(rows[:5], np.arange(1, 6))
    with client_of(index) as client:
        assert [status for status, _ in changes(client)] == [200, 403, 200, 404]
        assert client.service.index.ntotal == 5


def test_an_index_that_the_caller_opened_stays_open(folder, rows):
    with wf.open_index(folder, "a") as index:
        with client_of(index) as client:
            assert client.post("/add", json={"vectors": rows[:1].tolist()}).json()["ids"] == [200]
            assert not client.service.changed
        assert index.ntotal == 201
    with wf.open_index(folder, "a") as index, client_of(wf.SwapIndex(index)) as client:
        body = {"ids": [200], "vectors": rows[1:2].tolist()}
        assert client.post("/upsert", json=body).json()["ntotal"] == 201
        assert client.post("/swap", json={"file": "one.wf"}).status_code == 403
    assert_same(held(folder)[200], rows[1])


def test_the_end_of_the_application_closes_the_folder(folder):
    with client_of(folder), pytest.raises(BlockingIOError, match="open for changes"):
        wf.open_index(folder, "a")
    wf.open_index(folder, "a").close()


def test_ids_are_those_of_the_vectors_while_others_change(folder, rows):
    """Also over flushes and merges, which happen every few changes here."""
    with wf.open_index(folder, "a", flush_bytes=2000, sync="none") as index:
        with client_of(index, limit=32) as client:
            url, own = client.base_url, [{} for _ in range(6)]

            def change(number):
                rng = np.random.default_rng(number)
                with httpx.Client(base_url=url, timeout=PATIENCE) as client:
                    for _ in range(40):
                        new = rng.standard_normal((rng.integers(1, 4), D)).astype(np.float32)
                        answer = client.post("/add", json={"vectors": new.tolist()}).json()
                        assert not own[number].keys() & set(answer["ids"])
                        own[number] |= dict(zip(answer["ids"], new, strict=True))
                        if rng.random() < 0.4:
                            id = list(own[number])[rng.integers(len(own[number]))]
                            del own[number][id]
                            assert client.delete(f"/vectors/{id}").json()["removed"] == 1

            with ThreadPoolExecutor(6) as pool:
                list(pool.map(change, range(6)))
        now = held(folder)
    assert len(now) == 200 + sum(map(len, own))
    for id, vector in (item for each in own for item in each.items()):
        assert_same(now[id], vector)


def test_searches_and_probes_do_not_wait_for_a_change(client, rows):
    """A disk that is slow, as a change sees it."""
    added = []
    with client.service.index.writes_held():
        url = f"{client.base_url}/add"
        body = {"vectors": rows[:1].tolist()}
        thread = threading.Thread(
            target=lambda: added.append(httpx.post(url, json=body, timeout=PATIENCE))
        )
        thread.start()
        for _ in range(3):
            for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
                assert client.get(path).status_code == 200
            answer = client.post("/search", json={"vector": rows[0].tolist()})
            assert answer.status_code == 200
        assert added == []
    thread.join(PATIENCE)
    assert added[0].json()["ids"] == [200]


def test_an_unknown_state_of_the_log_ends_changes_only(client, rows):
    client.service.index.index._log.fail()
    for status, error in changes(client):
        assert status == 503
        assert "could not be written: an earlier write failed" in error
    assert client.post("/search", json={"vector": rows[0].tolist()}).status_code == 200
    assert client.get("/readyz").status_code == 200
