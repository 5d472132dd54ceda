"""``kill -9`` of a service while clients change its folder: what it acknowledged is kept."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading

import httpx
import numpy as np
from support.concurrency import PATIENCE, until
from support.server_process import serving

import waterfill as wf

ROUNDS = int(os.environ.get("WATERFILL_KILLS", "5"))
CLIENTS = 4
D = 8


def stored(vector):
    """Return what tells a vector of the folder from others: the bytes of its row."""
    return np.asarray(vector, np.float16).tobytes()


class Client:
    """Adds, upserts and removes vectors, and knows what each id may hold.

    It changes only ids of its own: those of vectors that it added, and for `upsert` those of a
    range that `/add` gives to no vector.
    """

    def __init__(self, number):
        self.rng = np.random.default_rng(number)
        self.own_ids = range(-100 * (number + 1), -100 * (number + 1) + 30)
        self.held = {}  # by id: what was acknowledged
        self.changing = {}  # by id: what the request that was not answered would have made of it
        self.adding = []  # vectors of an /add that was not answered
        self.answers = 0
        self.error = None

    def run(self, port):
        """Change the folder until the service ends."""
        self.changing, self.adding = {}, []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            while True:
                self.rng.choice([self.add, self.upsert, self.upsert, self.remove, self.delete])(
                    connection
                )
                self.answers += 1
        except (OSError, http.client.HTTPException):
            pass  # killed
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def ask(self, connection, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)

    def vectors(self, n):
        return self.rng.standard_normal((n, D)).astype(np.float32).tolist()

    def add(self, connection):
        vectors = self.vectors(self.rng.integers(1, 6))
        self.adding = [stored(vector) for vector in vectors]
        ids = self.ask(connection, "POST", "/add", {"vectors": vectors})["ids"]
        self.held |= dict(zip(ids, self.adding, strict=True))
        self.adding = []

    def upsert(self, connection):
        ids = self.rng.choice(self.own_ids, self.rng.integers(1, 6), replace=False).tolist()
        vectors = self.vectors(len(ids))
        self.changing = dict(zip(ids, map(stored, vectors), strict=True))
        self.ask(connection, "POST", "/upsert", {"ids": ids, "vectors": vectors})
        self._done()

    def remove(self, connection):
        ids = self.rng.permutation(list(self.held))[:3].tolist()
        self.changing = dict.fromkeys(ids)
        assert self.ask(connection, "POST", "/remove", {"ids": ids})["removed"] == len(ids)
        self._done()

    def delete(self, connection):
        if self.held:
            id = int(self.rng.choice(list(self.held)))
            self.changing = {id: None}
            assert self.ask(connection, "DELETE", f"/vectors/{id}")["removed"] == 1
            self._done()

    def _done(self):
        self.held = {id: row for id, row in (self.held | self.changing).items() if row is not None}
        self.changing = {}

    def take(self, now):
        """Check what the folder holds, take this client's part of it, and know it from now on."""
        mine = {id: now.pop(id, None) for id in self.held | self.changing}
        untouched = self.held.keys() - self.changing.keys()
        assert {id: mine[id] for id in untouched} == {id: self.held[id] for id in untouched}
        after = {id: mine[id] for id in self.changing}
        before = {id: self.held.get(id) for id in self.changing}
        assert after in (before, self.changing)  # all of a request, or nothing
        added = {id: row for id, row in now.items() if row in self.adding}
        assert list(added.values()) in ([], self.adding)
        for id in added:
            del now[id]
        self.held = {id: row for id, row in (mine | added).items() if row is not None}


def contents(folder):
    index = wf.open_index(folder, verify="full")
    ids = index.ids().tolist()
    assert len(set(ids)) == len(ids)
    return {id: stored(row) for id, row in zip(ids, index.reconstruct_n(), strict=True)}


def assert_found(url, held):
    """After a restart, searches find the vectors by their ids, too."""
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for id in random.Random(1).sample(sorted(held), min(10, len(held))):
            row = np.frombuffer(held[id], np.float16).tolist()
            found = client.post("/search", json={"vector": row, "ids": [id]}).json()
            assert found["ids"] == [[id]]


def test_acknowledged_changes_survive_a_kill(folder):
    start = contents(folder)
    clients, random_times = [Client(number) for number in range(CLIENTS)], random.Random(3)
    for number in range(ROUNDS):
        with serving(folder, "--sync", "commit") as process:
            assert_found(process.url, {k: v for each in clients for k, v in each.held.items()})
            port, before = process.port, sum(each.answers for each in clients)
            threads = [threading.Thread(target=each.run, args=(port,)) for each in clients]
            for thread in threads:
                thread.start()
            until(lambda before=before: sum(each.answers for each in clients) > before)
            threading.Event().wait(random_times.uniform(0, 0.5))
            process.child.kill()
            process.end()
            for thread in threads:
                thread.join(PATIENCE)
        assert [each.error for each in clients] == [None] * CLIENTS
        now = contents(folder)
        for each in clients:
            each.take(now)
        assert now == start  # and nothing else
        if number % 2 == 0:  # the next one starts with segments, or with a long log
            with wf.open_index(folder, "a") as index:
                index.compact()
