"""A capacity report as text, picture and file."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support.load_steps import report_of
from support.simulated_service import SimulatedService, exponential

import waterfill as wf


@pytest.fixture(scope="module")
def report():
    return report_of(SimulatedService(4, exponential(0.03), seed=1))


def test_file_reads_back(report, tmp_path):
    path = tmp_path / "capacity.json"
    report.save(path)
    assert wf.loadtest.CapacityReport.load(path) == report
    assert wf.loadtest.CapacityReport.load(str(path)) == report
    document = json.loads(path.read_text())
    assert document["format"] == "waterfill capacity report"
    assert document["machine"]["waterfill"] == wf.__version__
    assert document["created"].endswith("Z")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a capacity report"),
        ({"version": 2}, "expected version 1 of a capacity report, got 2"),
        ({"limit": 0}, "limit=0 must be above 0"),
        ({"limit": 2.5}, "limit=2.5 must be an int"),
        ({"limit": True}, "limit=True must be above 0"),
        ({"floor": 10**6}, r"limit: expected a value from floor=1000000 to ceiling=\d+, got \d+"),
        ({"unloaded": "a"}, "unloaded='a' must be above 0"),
        ({"rate": None}, "rate=None must be above 0"),
        ({"slo": {"p99": -1}}, "p99=-1 must be at least 0"),
        ({"slo": 3}, "or damaged"),
        ({"steps": [{"kind": "open"}]}, "or damaged"),
        ({"complete": "no"}, "complete='no' must be a bool"),
    ],
)
def test_invalid_report_raises_format_error(report, tmp_path, change, message):
    path = tmp_path / "capacity.json"
    path.write_text(json.dumps(report.to_dict() | change))
    with pytest.raises(wf.FormatError, match=message) as caught:
        wf.loadtest.CapacityReport.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff", '{"format": 1}', "[" * 10_000])
def test_other_files_raise_format_error(tmp_path, text):
    path = tmp_path / "capacity.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(wf.FormatError, match="capacity report"):
        wf.loadtest.CapacityReport.load(path)
    with pytest.raises(FileNotFoundError):
        wf.loadtest.CapacityReport.load(tmp_path / "none.json")


def test_text_is_a_table(report):
    lines = str(report).splitlines()
    assert lines[0].endswith("requests per second (99 % within 200 ms, at most 1 % errors)")
    assert lines[1].startswith(f"limit {report.limit} in flight, from {report.floor} to ")
    assert len(lines) == 6 + len(report.steps)
    assert all(len(line) <= 80 for line in lines)
    incomplete = dataclasses.replace(report, complete=False, notes=("so",))
    assert str(incomplete).splitlines()[-2].endswith("INCOMPLETE")
    assert str(incomplete).splitlines()[-1] == "note: so"


def test_plot_writes_a_picture(report, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "capacity.png"
    figure = report.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 4
    assert f"limit {report.limit} in flight" in figure.get_suptitle()
