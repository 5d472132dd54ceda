"""Forked workers and their clients: merged counts equal what the clients saw."""

from __future__ import annotations

import pytest
from support.metric_values import run

pytest.importorskip("prometheus_client")

FORKED = """
import os, random, signal, sys, time
import waterfill as wf
from support.metric_values import counts, merged
from waterfill.metrics.multiprocess import Publisher, mark_process_dead

limiter = wf.Limiter(2, name="a", shares={"batch": 0.5})
limiter.acquire().release()  # counted by the parent alone
metrics = wf.Metrics(limiters=limiter)
path = sys.argv[1]
publisher = Publisher(metrics, path, interval=0.02)
started = sys.argv[2] == "started"
if started:
    publisher.start()

def child(number, report, wait):
    publisher.start()
    random.seed(number)
    admitted = refused = 0
    for _ in range(500):
        held = [limiter.try_acquire(priority=random.choice(["default", "batch"])) for _ in range(3)]
        for permit in held:
            admitted += permit is not None
            refused += permit is None
            if permit is not None:
                permit.release()
    os.write(report, f"{admitted} {refused}\\n".encode())
    os.read(wait, 1)
    if number % 2:
        publisher.close()  # the others are killed

reports, report = os.pipe()
wait, go = os.pipe()
children = []
for number in range(4):
    children.append(os.fork())
    if children[-1] == 0:
        try:
            child(number, report, wait)
        finally:
            os._exit(0)
lines = b""
while lines.count(b"\\n") < 4:
    lines += os.read(reports, 1000)
clients = [sum(map(int, each)) for each in zip(*(line.split() for line in lines.splitlines()))]
clients[0] += started

def total():
    found = merged(path)
    outcomes = {key[3]: 0 for key in found if key[0] == "waterfill_requests_total"}
    for key, value in found.items():
        if key[0] == "waterfill_requests_total":
            outcomes[key[3]] += value
    return found, [outcomes.pop("admitted", 0), sum(outcomes.values())]

end, before = time.monotonic() + 250, {}
while True:
    found, now = total()
    grown = counts(found)
    assert all(grown[key] >= value for key, value in before.items())
    before = grown
    # Counters and histograms are files of their own, so one may be a publication ahead.
    if now == clients and found["waterfill_request_seconds_count", "a"] == clients[0]:
        break
    assert time.monotonic() < end, (now, clients)
    time.sleep(0.005)
assert found["waterfill_workers",] == 4 + started
assert found["waterfill_limit", "a"] == 2 * (4 + started)
assert found["waterfill_in_flight", "a"] == 0
for number in (0, 2):
    os.kill(children[number], signal.SIGKILL)
    os.waitpid(children[number], 0)
found, now = total()
assert now == clients and found["waterfill_workers",] == 4 + started  # not yet marked dead
for number in (0, 2):
    mark_process_dead(children[number], path)
found, now = total()
assert now == clients and found["waterfill_workers",] == 2 + started
os.write(go, b"xx")
for number in (1, 3):
    os.waitpid(children[number], 0)
found, now = total()
assert now == clients and found.get(("waterfill_workers",), 0) == started, (now, found)
assert counts(found) == before
print("done")
"""


@pytest.mark.parametrize("state", ["started", "not started"])
def test_four_forked_workers(tmp_path, state):
    """A started parent is a fifth worker, and its children are started."""
    assert run(FORKED, tmp_path, state).strip() == "done"


SERVED = """
import http.client, os, signal, socket, sys, threading, time
from collections import Counter
import uvicorn
import waterfill as wf
from waterfill.metrics import multiprocess
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

limiter = wf.Limiter(2, name="a")
multiprocess._QUIET = 0.5  # mark_process_dead is not called
publisher = multiprocess.Publisher(wf.Metrics(limiters=limiter), interval=0.05)
registry = CollectorRegistry()
MultiProcessCollector(registry)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    import asyncio
    status, body = 200, b""
    if scope["path"] == "/metrics":
        body = await asyncio.to_thread(generate_latest, registry)
    else:
        permit = limiter.try_acquire()
        status = 503 if permit is None else 200
        if permit is not None:
            with permit:
                await asyncio.sleep(0.002)
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

listening = socket.create_server(("127.0.0.1", 0), backlog=256)
port = listening.getsockname()[1]

def worker():
    child = os.fork()
    if child == 0:
        try:
            with publisher:
                config = uvicorn.Config(app, log_level="error", lifespan="off")
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            os._exit(0)
    return child

def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=250)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()

def scrape():
    status, body = get("/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for name, labels, value, *_ in family.samples:
            found[(name, *sorted(labels.values()))] = value
    return found

A, R = [
    ("waterfill_requests_total", *sorted(["a", outcome, "default"]))
    for outcome in ("admitted", "refused_capacity")
]
COUNT, WORKERS = ("waterfill_request_seconds_count", "a"), ("waterfill_workers",)
clients, lock, before = Counter(), threading.Lock(), {}

def traffic(each=40):
    def ask():
        own = Counter(get("/search")[0] for _ in range(each))
        with lock:
            clients.update(own)
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        grows(scrape())
    for thread in threads:
        thread.join()

def grows(found):
    for key, value in found.items():
        if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
            assert value >= before.get(key, 0), key
            before[key] = value

def expect(workers):
    end = time.monotonic() + 250
    while True:
        found = scrape()
        grows(found)
        if [found.get(key) for key in (A, R, COUNT, WORKERS)] == [
            clients[200], clients[503], clients[200], workers
        ]:
            return
        assert time.monotonic() < end, (found, clients)
        time.sleep(0.01)

children = [worker() for _ in range(4)]
try:
    traffic()
    expect(4)
    killed = children.pop()
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    expect(3)
    children.append(worker())
    traffic()
    expect(4)
    assert clients[200] and clients[503] and set(clients) == {200, 503}, clients
    for child in children[:2]:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    expect(2)
finally:
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
print("done")
"""


def test_a_server_of_four_workers_behind_one_socket(tmp_path, monkeypatch):
    """One is killed, two exit, one starts later; any of them may answer the scrape."""
    pytest.importorskip("uvicorn")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert run(SERVED).strip() == "done"
