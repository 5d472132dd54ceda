"""The command ramp, over an index, over HTTP, and interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
from support.command_runner import COMMAND, environment
from support.http_server import Quiet, listening
from support.punctual_driver import make_punctual_drivers

import waterfill as wf

SHORT = ("--step-seconds", 0.3, "--rates", "20", "--max-rate", 20, "--max-seconds", 5,
         "--p99", 20, "--errors", 0.2, "--max-in-flight", 3)  # fmt: skip


class Handler(Quiet):
    def served(self):
        self.server.received.append((self.read_body(), self.headers.get("X-Key")))
        self.answer(200)


@pytest.fixture
def server():
    with listening(Handler) as made:
        yield made


@pytest.fixture
def punctual(monkeypatch):
    make_punctual_drivers(monkeypatch, "waterfill.cli.commands.ramp")


@pytest.mark.usefixtures("punctual")
@pytest.mark.parametrize("with_queries", [False, True])
def test_an_index_is_ramped(run, made, with_queries):
    pytest.importorskip("matplotlib")
    queries = ["--queries", made / "query.npy"] if with_queries else []
    files = ("--out", "report.json", "--picture", "curve.png")
    done = run("ramp", "--index", made / "flat.wf", *queries, *SHORT, *files)
    report = wf.loadtest.CapacityReport.load(run.directory / "report.json")
    assert report.rate == 20
    assert not report.complete  # five seconds are too few to prove a rate
    with pytest.raises(ValueError, match=r"max_seconds=5 was not enough.* Run the test to its end"):
        wf.Limiter.from_report(run.directory / "report.json")
    assert done.out.startswith("20 requests per second (99 % within 20000 ms")
    assert (run.directory / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("punctual")
def test_a_service_is_ramped(run, server):
    pytest.importorskip("aiohttp")
    (run.directory / "body.json").write_text('{"k": 3}')
    url = f"http://localhost:{server.server_port}/"
    request = ("--url", url, "--body", "body.json", "--header", "X-Key: a")
    done = run("ramp", *request, *SHORT, "--json")
    assert done.document["rate"] == 20
    assert set(server.received) == {(b'{"k": 3}', "a")}


BAD_USAGE = {
    "nothing to ask": ([], "give one of --index INDEX and --url URL"),
    "both": (["--index", "flat.wf", "--url", "http://localhost/"], "give one of --index"),
    "no numbers": (
        ["--index", "flat.wf", "--rates", "1,a"],
        "--rates=1,a must be numbers separated",
    ),
    "no SLO": (["--index", "flat.wf", "--p99", 0], "--p99=0 must be above 0 seconds"),
    "a body": (["--index", "flat.wf", "--body", "x"], "--body cannot be combined with --index"),
    "queries": (["--url", "http://localhost/", "--queries", "x"], "--queries cannot be combined"),
    "no URL": (["--url", "ftp://localhost/"], "--url='ftp://localhost/' must be an http://"),
    "no header": (
        ["--url", "http://localhost/", "--header", "a"],
        "expected 'NAME: VALUE', got 'a'",
    ),
    "another host": (["--url", "http://192.0.2.1/"], "not this machine"),
    "no directory": (["--index", "flat.wf", "--out", "no/x"], "--out no/x: directory"),
}


@pytest.mark.parametrize("name", BAD_USAGE)
def test_what_cannot_be_asked(run, made, name):
    arguments, message = BAD_USAGE[name]
    arguments = [made / "flat.wf" if each == "flat.wf" else each for each in arguments]
    done = run("ramp", *arguments, code=2)
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_service_that_is_not_there(run, server):
    port = server.server_port
    server.server_close()
    url = f"http://127.0.0.1:{port}/"
    done = run("ramp", "--url", url, "--step-seconds", 60, "--max-requests", 5, code=1)
    assert "the target answered no request: ClientConnectorError" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
def test_ctrl_c_leaves_what_is_known(made, tmp_path, server):
    """It is sent once a rung has been seen; it may be early or late for a report."""
    arguments = ["ramp", "--url", f"http://127.0.0.1:{server.server_port}/", "--out", "report.json"]
    (tmp_path / "body.json").write_text("{}")
    more = ["--body", "body.json", "--step-seconds", "1", "--rates", "20", "--p99", "5"]
    going = subprocess.Popen([*COMMAND, *arguments, *more], cwd=tmp_path, env=environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        wanted = threading.Event()
        while len(server.received) < 60 and going.poll() is None:
            wanted.wait(0.05)
        wanted.wait(2)
        going.send_signal(signal.SIGINT)
        out, err = going.communicate(timeout=60)
    finally:
        going.kill()
        going.wait()
    assert going.returncode == 130
    assert "Traceback" not in err
    if "interrupted; no partial file is left" not in err:
        assert "note: interrupted" in out
        assert not json.loads((tmp_path / "report.json").read_text())["complete"]
