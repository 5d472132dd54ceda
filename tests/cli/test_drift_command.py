"""waterfill drift: its answers are exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_runner import Runner

import waterfill as wf
from waterfill.data.rows import Rows
from waterfill.drift.baseline import training_rows

QUERY = "query.npy"
OLD = 2600


def turned(base: np.ndarray, rows: np.ndarray, directions: int) -> np.ndarray:
    """Turn rows within the leading directions: nothing leaves them, but the codec fits no more."""
    mean = base.mean(axis=0)
    basis = np.linalg.eigh(np.cov(base.T))[1][:, ::-1].T[:directions]
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((directions, directions)))[0]
    along = (rows - mean) @ basis.T
    return (rows + (along @ turn - along) @ basis).astype(np.float32)


@pytest.fixture(scope="session")
def sample(base_64) -> np.ndarray:
    """Sentences, with a spectrum that falls as that of all 384 dimensions does."""
    return (base_64 * np.geomspace(1, 0.1, 64)).astype(np.float32)


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory, sample, queries_64) -> Path:
    """Sentences of two times; later ones turned a little, far, and everywhere; states."""
    directory = tmp_path_factory.mktemp("days")
    old, new = sample[:OLD], sample[OLD:]
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0]
    for name, rows in {
        "old": old,
        "new": new,
        "far": turned(sample, new, 40),
        "model": (new @ turn).astype(np.float32),
        "few": new[14:21],
        "query": (queries_64 * np.geomspace(1, 0.1, 64)).astype(np.float32),
        "shifted": new + 0.05 * np.eye(64, dtype=np.float32)[7],
    }.items():
        np.save(directory / f"{name}.npy", rows)
    run = Runner(directory)
    np.save(directory / "wide.npy", np.zeros((1200, 65), np.float32))
    run("train", "old.npy", "--code-bytes", 12, "-o", "codec.wf")
    run("train", "few.npy", "--code-bytes", 12, "-o", "few.wf")
    run("drift", "old.npy", "new.npy", "--code-bytes", 12, "--canary", "--save", "state.drift")
    return directory


@pytest.fixture
def look(days) -> Runner:
    return Runner(days)


def answer(done) -> str:
    return answer_of(done.document)


def answer_of(document) -> str:
    return document["decision"]["answer"]


def test_no_drift_is_0(look):
    page = look("drift", "old.npy", "new.npy").out
    assert "2,200 vectors against 1,300 of the baseline: no drift" in page
    assert page.splitlines()[-2].startswith("decision  keep the codec: no drift")
    assert max(map(len, page.splitlines())) <= 80
    found = look("drift", "old.npy", "new.npy", "--no-errors", "--json").document
    assert (found["drift"], found["cost"], found["error_ratio"]) == (False, None, None)
    assert found["decision"] == {"answer": "fine", "reason": "no drift"}


def test_drift_that_costs_nothing_is_0(look):
    done = look("drift", "old.npy", "shifted.npy", "--json").document
    assert done["drift"]
    assert done["data"]["moved"]["first"][0]["number"] == 7
    assert done["decision"]["answer"] == "fine"
    done = look("drift", "old.npy", "shifted.npy", "--no-errors")
    assert "at an unknown loss of recall; --canary measures it" in " ".join(done.out.split())


def test_an_estimate_asks_for_a_canary_and_a_canary_for_retraining(look):
    done = look("drift", "state.drift", "far.npy", "--json", code=3)
    assert answer(done) == "measure"
    assert not done.document["cost"]["measured"]
    done = look("drift", "state.drift", "far.npy", "--canary", "--json", code=3)
    assert answer(done) == "retrain"
    cost = done.document["cost"]
    assert cost["measured"]
    assert cost["gap_low"] > 0.01
    loss = ("--max-recall-loss", cost["gap"])
    done = look("drift", "state.drift", "far.npy", "--canary", "--json", *loss)
    assert answer(done) == "fine"


def test_another_model_is_3(look):
    done = look("drift", "old.npy", "model.npy", "--no-errors", "--json", code=3)
    assert answer(done) == "model"
    page = look("drift", "old.npy", "model.npy", "--no-errors", code=3).out
    assert page.startswith("model.npy")
    assert "decision  re-embed" in page


def test_it_is_what_the_library_says(look, sample):
    queries = np.load(look.directory / QUERY)
    arguments = ("--codec", "codec.wf", "--canary", "--seed", 4, "-k", 5, "--metric", "l2")
    files = ("--queries", QUERY, "--new-queries", QUERY)
    # Its own rows would leave none to compare with: the later ones are the baseline here.
    found = look("drift", "new.npy", "old.npy", *arguments, *files, "--json").document
    monitor = wf.DriftMonitor.from_codec(
        wf.read_codec(look.directory / "codec.wf"),
        sample[OLD:],
        queries=queries,
        metric="l2",
        seed=4,
    )
    monitor.update(sample[:OLD])
    monitor.update_queries(queries)
    report = monitor.report().to_dict()
    assert {name: found[name] for name in ("data", "queries", "model", "error_ratio")} == {
        name: report[name] for name in ("data", "queries", "model", "error_ratio")
    }
    assert found["cost"]["measured"]


@pytest.mark.parametrize("canary", [[], ["--canary"]])
@pytest.mark.parametrize("new", ["new.npy", "old.npy"])
def test_the_rows_that_the_codec_was_trained_on(look, new, canary):
    """A codec like it, trained on half of them, has the other half as its baseline."""
    done = look("drift", "old.npy", new, "--codec", "codec.wf", *canary, "--json").document
    assert answer_of(done) == "fine"
    assert not done["drift"]
    assert done["stand_in"]
    assert done["excluded"] == (OLD // 2 if new == "old.npy" else 0)
    assert done["data"]["rows"] == (OLD // 2 if new == "old.npy" else 2200)
    assert 0.9 < done["error_ratio"] < 1.1
    assert done["cost"]["measured"] == bool(canary)


def test_drift_is_found_beside_the_rows_that_the_codec_was_trained_on(look):
    arguments = ("--codec", "codec.wf", "--canary")
    done = look("drift", "old.npy", "far.npy", *arguments, "--json", code=3)
    assert answer(done) == "retrain"
    page = " ".join(look("drift", "old.npy", "far.npy", *arguments, code=3).out.split())
    assert "codec.wf was trained on the rows of the baseline; a codec like it" in page


def test_the_same_file_twice_is_no_drift(look):
    """The rows that trained the codec have smaller errors, and are left out on both sides."""
    page = look("drift", "old.npy", "old.npy").out
    assert "1,300 vectors against 1,300 of the baseline: no drift" in page
    assert "1,300 rows of old.npy that the codec was trained on" in page


def test_rows_that_an_optimized_codec_was_trained_on_are_left_out(look, days, sample):
    """Its manifest has the draw of the optimizer."""
    run = look("optimize", "old.npy", "--target-recall", 0.5, "--time-budget", 0, "-o", "best.wf")
    assert "chosen" in run.out
    codec = wf.read_codec(days / "best.wf")
    trained = training_rows(codec, Rows(sample[:OLD]))
    assert len(trained) == codec.manifest.trained_rows - min(256, codec.manifest.rows // 8)
    assert training_rows(codec, Rows(sample[1 : OLD + 1])) is None
    done = look("drift", "old.npy", "old.npy", "--codec", "best.wf", "--json").document
    assert (answer_of(done), done["drift"]) == ("fine", False)


def test_rows_of_a_large_file_that_were_not_drawn_are_the_baseline(tmp_path):
    """No codec stands in where training left enough rows."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((70_000, 8)) * np.geomspace(1, 0.1, 8)).astype(np.float32)
    np.save(tmp_path / "large.npy", x)
    run = Runner(tmp_path)
    run("train", "large.npy", "--code-bytes", 4, "--effort", "fast", "-o", "codec.wf")
    done = run("drift", "large.npy", "large.npy", "--codec", "codec.wf", "--json").document
    assert not done["stand_in"]
    assert done["data"]["baseline_rows"] == done["data"]["rows"] == 70_000 - 65_536
    assert not done["drift"]


def test_what_is_cheap_is_checked_before_training(look, monkeypatch):
    def trained(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(wf.Codec, "train", trained)
    cases = [
        (2, ["old.npy", "new.npy", "--alpha", 0.5]),
        (1, ["old.npy", "wide.npy"]),
        (1, ["old.npy", "few.npy", "--canary"]),
        (1, ["old.npy", "new.npy", "--queries", "few.npy"]),
        (1, ["old.npy", "new.npy", "--blocks", "codec.wf"]),
        (2, ["old.npy", "new.npy", "--save", "nowhere/x.drift"]),
    ]
    for code, arguments in cases:
        assert "trained" not in look("drift", *arguments, code=code).err


def test_looks_are_counted_in_a_state(look, days, tmp_path):
    state = tmp_path / "state.drift"
    state.write_bytes((days / "state.drift").read_bytes())
    before = wf.DriftMonitor.load(state)
    found = [
        look("drift", state, name, "--save", state, "--json").document["data"]
        for name in ("new.npy", "shifted.npy")
    ]
    assert [data["look"] for data in found] == [2, 3]  # the first one made the state
    assert [data["rows"] for data in found] == [2200, 2200]  # and a window is forgotten
    assert wf.DriftMonitor.load(state).nbytes == before.nbytes


def test_blocks(look, days):
    labels = [f"session {i // 10}" for i in range(4800)]
    (days / "old.txt").write_text("\n".join(labels[:OLD]) + "\n")
    np.save(days / "new-blocks.npy", np.array(labels[OLD:]))
    arguments = ("--baseline-blocks", "old.txt", "--blocks", "new-blocks.npy", "--json")
    found = look("drift", "old.npy", "new.npy", *arguments).document
    assert not found["drift"]
    (days / "one.txt").write_text("a\n" * 2200)
    error = look("drift", "old.npy", "new.npy", "--blocks", "one.txt", code=1).err
    assert "expected at least 8 blocks of rows, got 1 (2,200 rows)" in error
    assert (
        "2200 rows of new.npy"
        in look("drift", "old.npy", "new.npy", "--blocks", "old.txt", code=1).err
    )


BAD_DATA = {
    "too few": (
        ["old.npy", "few.npy"],
        "few.npy: expected at least 8 blocks of rows, got 7 (7 rows)",
    ),
    "no half": (
        ["few.npy", "new.npy"],
        "few.npy: expected at least 1000 rows, of which half train a codec, got 7",
    ),
    "no canary": (["old.npy", "few.npy", "--canary"], "too few rows for a canary in few.npy"),
    "no file": (["none.drift", "new.npy"], "none.drift: No such file"),
    "too few of its own": (
        ["few.npy", "new.npy", "--codec", "few.wf"],
        "few.npy: expected at least 1000 rows, of which half train a codec like few.wf",
    ),
    "other dimensions": (
        ["old.npy", "wide.npy"],
        "wide.npy: expected 64 dimensions, as in old.npy, got 65",
    ),
    "other dimensions than the codec": (
        ["wide.npy", "wide.npy", "--codec", "codec.wf"],
        "wide.npy has 65 dimensions, expected 64",
    ),
    "other dimensions than the state": (
        ["state.drift", "wide.npy"],
        "wide.npy: expected 64 dimensions, as in state.drift, got 65",
    ),
    "few queries": (
        ["old.npy", "new.npy", "--queries", "few.npy"],
        "few.npy: expected at least 100 queries for a baseline, got 7",
    ),
    "no vectors": (["codec.wf", "new.npy"], "unknown extension '.wf'"),
}
BAD_USAGE = {
    "alpha": (["old.npy", "new.npy", "--alpha", 0.5], "--alpha=0.5 must be above 0"),
    "bytes": (["old.npy", "new.npy", "--code-bytes", 999], "--code-bytes=999 must be"),
    "seed": (["old.npy", "new.npy", "--seed", -1], "--seed=-1 must be"),
    "k": (["old.npy", "new.npy", "-k", 0], "-k=0 must be at least 1"),
    "loss": (["old.npy", "new.npy", "--max-recall-loss", 2], "--max-recall-loss=2 must be"),
    "trained": (
        ["old.npy", "new.npy", "--codec", "codec.wf", "--code-bytes", 8],
        "--code-bytes applies to training",
    ),
    "alone": (["old.npy", "new.npy", "--new-queries", QUERY], "needs --queries"),
    "settled": (["state.drift", "new.npy", "--alpha", 0.1], "state.drift is a saved state"),
    "errors": (["state.drift", "new.npy", "--no-errors"], "--no-errors applies to a baseline"),
    "other k": (
        ["state.drift", "new.npy", "--canary", "-k", 3],
        "expected -k 10, as in the canary of state.drift",
    ),
    "unknown queries": (
        ["state.drift", "new.npy", "--new-queries", QUERY],
        "state.drift was saved without --queries",
    ),
    "an input": (["old.npy", "new.npy", "--save", "old.npy"], "--save old.npy is an input file"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_1(look, case):
    arguments, words = BAD_DATA[case]
    done = look("drift", *arguments, code=1)
    assert words in done.err
    assert (done.out, done.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("case", BAD_USAGE)
def test_bad_usage_is_2(look, case):
    arguments, words = BAD_USAGE[case]
    done = look("drift", *arguments, code=2)
    assert words in done.err
    assert done.out == ""
