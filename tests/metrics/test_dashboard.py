"""The dashboard in Grafana's own schema, and its queries in a real Prometheus."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from support.concurrency import PATIENCE, until
from support.server_process import serving
from support.store_checks import load

import waterfill as wf

EXAMPLE = Path(__file__).parents[2] / "examples" / "monitoring"
pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="an installed package has no examples")

# What Grafana reads and its schema does not name: how Prometheus's annotations are titled and
# spaced, and the text of a variable's query.
UNNAMED = {"titleFormat", "step", "definition"}
# Panels of what `waterfill serve` has: no monitor, batcher or merged workers.
OF_THE_SERVICE = {
    "Requests by outcome",
    "Share that is refused",
    "In flight, and the limit",
    "Latency of the admitted",
    "Latency, all of it",
    "Generation",
    "Contents in use",
    "Vectors and memory",
}
# What asking a port ends with until the right process listens on it.
NOT_YET = (OSError, http.client.HTTPException, ValueError, LookupError)


def dashboard():
    return json.loads((EXAMPLE / "dashboard.json").read_text())


def lost(given, kept, path=()):
    """The places of values that are not in `kept`."""
    if isinstance(given, dict):
        for name, value in given.items():
            there = isinstance(kept, dict) and name in kept
            yield from lost(value, kept[name], (*path, name)) if there else [(*path, name)]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, pair in enumerate(zip(given, kept, strict=True)):
            yield from lost(*pair, (*path, number))
    elif given != kept:
        yield path


def as_grafana_reads(given):
    (dashboards, encoder, plugins) = load(
        "grafana_foundation_sdk.models.dashboard",
        "grafana_foundation_sdk.cog.encoder",
        "grafana_foundation_sdk.cog.plugins",
    )
    plugins.register_default_plugins()
    return json.loads(encoder.JSONEncoder().encode(dashboards.Dashboard.from_json(given)))


def test_grafanas_schema_has_every_field():
    given = dashboard()
    assert {path[-1] for path in lost(given, as_grafana_reads(given))} == UNNAMED


def test_grafanas_schema_would_show_a_wrong_field():
    given = dashboard()
    given["panels"][1]["fieldConfig"]["defaults"]["custom"]["fillOpacitty"] = 30
    given["panels"][1]["targets"][0]["legend"] = "?"
    missing = {path[-1] for path in lost(given, as_grafana_reads(given))}
    assert missing == UNNAMED | {"fillOpacitty", "legend"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def running(command, answers):
    """A process that listens on a free port, started by `command(port)`; yield the port.

    Another process may take the port first. Then this one exits, and is started on the next.
    """
    for _ in range(5):
        port = free_port()
        arguments, environment = command(port)
        child = subprocess.Popen(
            [*map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
        )
        try:
            until(lambda port=port, child=child: child.poll() is not None or answers(port))
            if child.poll() is None:
                yield port
                return
        finally:
            child.kill()
            child.wait()
    pytest.fail(f"{arguments[0]} does not start")


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return answer.read()


@contextlib.contextmanager
def scraped(target, folder):
    """A function that asks a Prometheus, which scrapes a port, for the values of a query."""
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: search, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
    )

    def command(port):
        return [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ], {}

    def query(port, expression):
        for name, value in (("$job", ".*"), ("$limiter", ".*"), ("$__rate_interval", "5m")):
            expression = expression.replace(name, value)
        asked = urllib.parse.urlencode({"query": expression})
        return json.loads(get(port, f"/api/v1/query?{asked}"))["data"]["result"]

    def has_scraped(port):
        up = f"up{{instance='127.0.0.1:{target}'}}"
        with contextlib.suppress(*NOT_YET):
            scrapes = query(port, f"count_over_time({up}[5m])") if query(port, f"{up} == 1") else []
            return any(float(one["value"][1]) >= 3 for one in scrapes)
        return False

    with running(command, has_scraped) as port:
        yield lambda expression: query(port, expression)


def unanswered(ask, titles=None):
    return [
        (panel["title"], target["expr"])
        for panel in dashboard()["panels"]
        if titles is None or panel["title"] in titles
        for target in panel.get("targets", ())
        if not ask(target["expr"])
    ]


needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not here"
)


@needs_prometheus
@pytest.mark.slow
def test_every_query_has_an_answer_from_the_example(tmp_path):
    pytest.importorskip("uvicorn")
    pytest.importorskip("prometheus_client")

    def command(port):
        shared = tempfile.mkdtemp(dir=tmp_path)
        service = [sys.executable, EXAMPLE / "service.py", port]
        return service, {"PROMETHEUS_MULTIPROC_DIR": shared}

    def answers(port):
        with contextlib.suppress(*NOT_YET):
            return b"waterfill_" in get(port, "/metrics")
        return False

    with running(command, answers) as port, scraped(port, tmp_path) as ask:
        until(lambda: not unanswered(ask))
        swapped = [one["expr"] for one in dashboard()["annotations"]["list"]]
        until(lambda: all(ask(one) for one in swapped))


@needs_prometheus
def test_queries_have_answers_from_the_service(tmp_path, flat, queries_64):
    pytest.importorskip("uvicorn")
    wf.write_index(flat, tmp_path / "one.wf")
    with serving(tmp_path / "one.wf") as service, scraped(service.port, tmp_path) as ask:
        body = json.dumps({"vectors": queries_64[:2].tolist(), "k": 3}).encode()
        request = urllib.request.Request(
            f"{service.url}/search", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 200
        until(lambda: not unanswered(ask, OF_THE_SERVICE))
