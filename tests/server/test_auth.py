"""Access control: tokens, hosts, and options that would leave a service open."""

from __future__ import annotations

import hmac

import httpx
import numpy as np
import pytest
from support.asgi_server import serve
from support.concurrency import PATIENCE
from support.server_process import exit_code

import waterfill as wf
from waterfill.server import ServerSettings, create_app

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def guarded(files):
    app = create_app(wf.read_index(files / "one.wf"), ServerSettings(token=TOKEN))
    with (
        serve(app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client,
    ):
        yield client


def test_a_token_opens(guarded, monkeypatch):
    compared, compare = [], hmac.compare_digest

    def seen(a, b):
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", seen)
    answer = guarded.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert compared == [(TOKEN.encode(), TOKEN.encode())]
    other = {"authorization": f"bearer {TOKEN}", "host": "evil.example"}
    assert guarded.get("/metrics", headers=other).status_code == 200  # the token is enough


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("authorization", TOKEN)],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {TOKEN[:-1]}")],
        [("authorization", f"Bearer {TOKEN}x")],
        [("authorization", f"Basic {TOKEN}")],
        [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")],
        [("authorization", b"Bearer \xff\xfe")],
    ],
)
def test_nothing_else_does(guarded, given):
    for path in ("/metrics", "/openapi.json", "/search", "/nowhere"):
        answer = guarded.get(path, headers=given)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    for path in ("/healthz", "/readyz"):
        assert guarded.get(path, headers=given).status_code == 200


HOSTS = {
    "localhost": 200,
    "LOCALHOST:80": 200,
    "127.0.0.1:9": 200,
    "[::1]:8000": 200,
    "search.example": 200,
    "evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "localhost@evil.example": 421,
    "": 421,
}


def test_hosts_without_a_token(index):
    app = create_app(index, ServerSettings(names=["search.example"]))
    with (
        serve(app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client,
    ):
        for host, status in HOSTS.items():
            for path in ("/metrics", "/healthz"):
                answer = client.get(path, headers={"host": host})
                assert answer.status_code == status
                assert "access-control-allow-origin" not in answer.headers


def test_beyond_this_machine_a_token_is_needed(files, capsys, monkeypatch):
    assert exit_code(files / "one.wf", "--host", "0.0.0.0") == 2
    error = capsys.readouterr().err
    assert "--host 0.0.0.0 is open to other machines; give --token-file" in error
    monkeypatch.setenv("WATERFILL_TOKEN", "short")
    assert exit_code(files / "one.wf", "--host", "0.0.0.0") == 2
    error = capsys.readouterr().err
    assert "WATERFILL_TOKEN must have at least 16 characters, got 5" in error
    assert "short" not in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "4", "--report", "x.json"], "--limit and --report both set the limit"),
        (["--adaptive"], "--adaptive needs --report"),
        (["--overlap", "0.5"], "need --canary"),
        (["--canary", "asked.npy"], "--canary needs --overlap, --recall-drop, or both"),
        (["--swap-folder", "nowhere"], "is not a directory"),
    ],
)
def test_options_that_do_not_go_together(files, capsys, options, message):
    assert exit_code(files / "one.wf", *options) == 2
    assert message in capsys.readouterr().err


def test_a_canary_of_other_dimensions_is_refused_before_it_serves(files, capsys, tmp_path):
    d = wf.read_codec(files / "one.wf").d
    np.save(tmp_path / "wide.npy", np.zeros((100, d + 1), np.float32))
    canary = ("--canary", tmp_path / "wide.npy", "--overlap", "0.5")
    assert exit_code(files / "one.wf", *canary) == 2
    assert f"wide.npy: expected {d} dimensions, as in" in capsys.readouterr().err


@pytest.mark.parametrize("adaptive", [[], ["--adaptive"]])
def test_an_incomplete_capacity_report_is_refused(files, capsys, tmp_path, adaptive):
    path = tmp_path / "capacity.json"
    wf.loadtest.CapacityReport(
        *(100.0, 20, 4, 32, 0.002, 200.0, wf.loadtest.Slo(0.1), ()),
        complete=False,
        notes=("max_seconds=3 was not enough", "no concurrency sweep"),
    ).save(path)
    assert exit_code(files / "one.wf", "--report", path, *adaptive) == 2
    error = capsys.readouterr().err
    assert f"--report {path}: expected the report of a complete capacity test" in error
    assert "max_seconds=3 was not enough; no concurrency sweep" in error
    assert "waterfill ramp" in error


def test_a_file_that_is_no_index(files, capsys):
    assert exit_code(files / "bad.wf") == 1
    assert "expected a waterfill index" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["x" * 15, "a b" * 9, "é" * 20, ""])
def test_tokens_that_are_none(token):
    with pytest.raises(ValueError, match="token must have"):
        ServerSettings(token=token)
