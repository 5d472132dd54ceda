"""Readers of documents and states: altered ones raise the documented error, in bounded time."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import waterfill as wf
from waterfill._util.stored_values import as_count, as_real, reading, require_types
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.recall_sensitivity import Sensitivity
from waterfill.drift.retrain_policy import RetrainPolicy

D = 8
SECONDS = 20  # of a reading; each takes milliseconds
_EXTREMES = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        2**64,
        -(2**63),
        10**400,
        0.5,
        -0.5,
        1e308,
        1e-320,
    ),
    *(math.nan, math.inf, -math.inf, "", "x", "1", "\ud800", [], [[]], [None], {}, {"a": 1}),
    *([2**63], [math.nan], [1.5, "a"], [[1], [2, 3]], "AAAA", [[[[[[[]]]]]]]),
]
EXTREMES = st.sampled_from(range(len(_EXTREMES))).map(lambda i: copy.deepcopy(_EXTREMES[i]))
FAST = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def codec():
    rows = np.random.default_rng(0).standard_normal((1000, D)).astype("f4")
    return wf.Codec.train(rows, wf.Plan.waterfill(wf.analyze(rows), code_bytes=4), cells=0)


@pytest.fixture(scope="module")
def state(codec):
    rows = np.random.default_rng(1).standard_normal((1200, D)).astype("f4")
    monitor = wf.DriftMonitor.from_codec(
        codec, rows[:600], queries=rows[:100], probes=rows[:8], canary=None
    )
    monitor.update(rows[600:])
    return monitor.to_bytes()


def report():
    step = {
        "kind": "open", "offered": 10.0, "in_flight": None, "seconds": 1.0, "requests": 10,
        "achieved": 9.0, "goodput": 9.0, "p50": 0.1, "p99": 0.2, "slow": 0.0, "errors": 0.0,
        "refused": 0.0, "late": 0.0, "verdict": "good",
    }  # fmt: skip
    made = wf.loadtest.CapacityReport(
        rate=100.0, limit=7, floor=4, ceiling=9, unloaded=1.0, throughput=200.0,
        slo=wf.loadtest.Slo(), steps=(), notes=("a",), machine={"cpus": 2},
    )  # fmt: skip
    return {**made.to_dict(), "steps": [step]}


CANARY = {
    "sizes": [10, 20], "frozen": [[0.5, 1.0], [0.25, 0.5]], "retrained": [[0.5, 1.0], [0.5, 0.5]],
    "vectors": 40, "k": 10, "metric": "ip",
}  # fmt: skip
SENSITIVITY = Sensitivity(0.1, (1.0, 2.0), (0.9, 0.5), 100, 10).to_dict()


def load_report(document, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    return wf.loadtest.CapacityReport.load(path)


def paths_of(document, prefix=()):
    """The places of all values in a document."""
    yield prefix
    items = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document[:3])
    for key, value in items:
        yield from paths_of(value, (*prefix, key))


def altered(data, document):
    """A document with one to three values replaced, left out or nested."""
    changed = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(paths_of(changed))[1:] or [()]))
        if not place:
            return changed
        owner = changed
        for key in place[:-1]:
            owner = owner[key]
        if isinstance(owner, dict) and data.draw(st.booleans()) and data.draw(st.booleans()):
            del owner[place[-1]]
        else:
            owner[place[-1]] = data.draw(EXTREMES)
    return changed


def read(call, error, use=lambda result: None):
    """Read; only the documented error may be raised, and what is read can be used."""
    start, raised = time.monotonic(), None
    try:
        result = call()
    except error as caught:
        raised = caught
    if raised is None:
        use(result)
    else:
        assert str(raised)
        assert type(raised) in (ValueError, wf.FormatError)
    assert time.monotonic() - start < SECONDS


@FAST
@given(data=st.data())
def test_plans(codec, data):
    document = altered(data, json.loads(codec.plan.to_json()))
    text = json.dumps(document)
    read(lambda: wf.Plan.from_json(text), ValueError, lambda plan: (str(plan), plan.to_json()))


@FAST
@given(data=st.data())
def test_manifests(codec, data):
    document = altered(data, json.loads(codec.manifest.to_json()))
    text = json.dumps(document)
    read(lambda: wf.training.Manifest.from_json(text), ValueError, str)


@FAST
@given(data=st.data())
def test_capacity_reports(data, tmp_path):
    document = altered(data, report())
    read(lambda: load_report(document, tmp_path), wf.FormatError, str)


@FAST
@given(data=st.data())
def test_dictionaries_of_a_drift_state(data):
    for kind, document, use in (
        (CanaryRecall, CANARY, lambda result: result.cost()),
        (Sensitivity, SENSITIVITY, lambda result: result.estimate(1.5)),
        (RetrainPolicy, RetrainPolicy().to_dict(), lambda result: result.to_dict()),
    ):
        changed = altered(data, document)
        read(lambda kind=kind, changed=changed: kind.from_dict(changed), ValueError, use)


def repacked(state, change, compression=zipfile.ZIP_STORED):
    """The archive with its members changed: a function of name and content."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(state)) as old, zipfile.ZipFile(made, "w", compression) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return made.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_settings(state, document):
    text = np.frombuffer(json.dumps(document).encode(), np.uint8)
    return repacked(state, lambda name, old: npy(text) if name == "settings.npy" else old)


def settings_of(state):
    with np.load(io.BytesIO(state)) as archive:
        return json.loads(archive["settings"].tobytes())


def use_monitor(monitor):
    monitor.report()
    monitor.to_bytes()
    repr(monitor)


@settings(FAST, max_examples=60)
@given(data=st.data())
def test_settings_of_a_drift_state(state, data):
    changed = with_settings(state, altered(data, settings_of(state)))
    read(lambda: wf.DriftMonitor.from_bytes(changed), wf.FormatError, use_monitor)


@settings(FAST, max_examples=60)
@given(data=st.data())
def test_arrays_of_a_drift_state(state, data):
    with zipfile.ZipFile(io.BytesIO(state)) as archive:
        names = archive.namelist()
    chosen = data.draw(st.sampled_from(names))
    dtype = data.draw(st.sampled_from(["f4", "f8", "f2", "u1", "i8", "u4", "<U3", "O", "M8[s]"]))
    shape = data.draw(st.lists(st.sampled_from([0, 1, 8, 16, 64, 256, 1000]), max_size=2))
    fill = data.draw(st.sampled_from([0, 1, -1, math.nan, math.inf, 1e30]))
    with np.errstate(all="ignore"):
        try:
            array = np.full(shape, fill).astype(dtype)
        except (ValueError, OverflowError):
            array = np.zeros(shape, dtype)
    changed = repacked(state, lambda name, old: npy(array) if name == chosen else old)
    read(lambda: wf.DriftMonitor.from_bytes(changed), wf.FormatError, use_monitor)


@settings(FAST, max_examples=200)
@given(data=st.data())
def test_bytes_of_a_drift_state(state, data):
    changed = bytearray(state)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(changed), len(changed) // 2, 30, 4, 0]))
    read(lambda: wf.DriftMonitor.from_bytes(bytes(changed[:cut])), wf.FormatError)


def test_a_state_that_was_packed_again_is_read(state):
    monitor = wf.DriftMonitor.from_bytes(state)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        same = wf.DriftMonitor.from_bytes(repacked(state, lambda name, old: old, compression))
        assert str(same.report()) == str(monitor.report())
    assert str(pickle.loads(pickle.dumps(monitor)).report()) == str(monitor.report())


@pytest.mark.parametrize("name", ["probes", "codec", "settings", "data.window.sums", "data.recent"])
def test_a_small_state_that_unpacks_to_much_is_refused(state, name):
    rows = 4_000_000
    zeros = np.zeros((rows, D), "f4") if name == "probes" else np.zeros(16 * rows, "u1")
    bomb = repacked(
        state,
        lambda each, old: npy(zeros) if each == f"{name}.npy" else old,
        zipfile.ZIP_DEFLATED,
    )
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(wf.FormatError, match=name):
            wf.DriftMonitor.from_bytes(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_member_that_is_longer_than_its_header_says_is_refused(state):
    longer = repacked(state, lambda name, old: old + b"\0" if name == "data.recent.npy" else old)
    with pytest.raises(wf.FormatError, match=r"data\.recent: expected 16384 bytes"):
        wf.DriftMonitor.from_bytes(longer)


@pytest.mark.parametrize("permutations", [2**63, 100_001, 98, 999.0, None])
def test_permutations_are_bounded(state, permutations):
    document = settings_of(state) | {"permutations": permutations}
    with pytest.raises(wf.FormatError, match="permutations"):
        wf.DriftMonitor.from_bytes(with_settings(state, document))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, '{"a":' * 100_000, "", "nul", "[]", "3", '"x"', "null", "1" * 5000, "NaN",
        '{"format": 1e999}',
    ],
)  # fmt: skip
def test_documents_of_other_kinds(text, tmp_path):
    with pytest.raises(ValueError, match="not the JSON of a waterfill plan"):
        wf.Plan.from_json(text)
    with pytest.raises(ValueError, match="not the JSON of a manifest"):
        wf.training.Manifest.from_json(text)
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(wf.FormatError, match="not a capacity report"):
        wf.loadtest.CapacityReport.load(tmp_path / "report.json")
    with pytest.raises(wf.FormatError, match="not the state of a drift monitor"):
        wf.DriftMonitor.from_bytes(text.encode())


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "report.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(wf.FormatError, match="not a capacity report"):
        wf.loadtest.CapacityReport.load(tmp_path / "report.json")


def test_what_is_raised_says_why():
    for raised, expected in (
        (KeyError("k"), "it lacks 'k'"),
        (RecursionError("deep"), "nested too deeply"),
        (OverflowError(), "OverflowError"),
        (zipfile.BadZipFile("no zip"), "no zip"),
    ):
        with (
            pytest.raises(ValueError, match=f"^a thing: .*{expected}"),
            reading("a thing", ValueError),
        ):
            raise raised
    with pytest.raises(wf.FormatError, match=r"^own$"), reading("a thing", wf.FormatError):
        raise wf.FormatError("own")
    with pytest.raises(KeyboardInterrupt), reading("a thing", ValueError):
        raise KeyboardInterrupt


def test_numbers_of_documents():
    assert as_count("n", 3) == 3
    assert as_real("x", 3) == 3.0
    for value in (True, 1.0, "1", None, -1, 2**53 + 1, 10**5000):
        with pytest.raises(ValueError, match="n="):
            as_count("n", value)
    for value in (True, "1", None, math.nan, math.inf, 10**400, -1):
        with pytest.raises(ValueError, match="x="):
            as_real("x", value, 0.0)
    with pytest.raises(ValueError, match=r"p99='a' must be of type float \| None"):
        require_types(wf.loadtest.Step, {"p99": "a"})


def test_unknown_arrays_are_refused(state):
    made = io.BytesIO(state)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("more.npy", npy(np.zeros(3)))
    with pytest.raises(wf.FormatError, match=r"unknown array more\.npy"):
        wf.DriftMonitor.from_bytes(made.getvalue())
