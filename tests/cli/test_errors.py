"""What goes wrong is one line on stderr, and an exit code; nothing is half-written."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.command_runner import COMMAND, environment

import waterfill as wf
from waterfill.cli import main
from waterfill.cli.inputs import Vectors

BASE, QUERY = "base.npy", "query.npy"

BAD_USAGE = {
    "no such command": (["shrink"], "No such command 'shrink'"),
    "no such option": (["analyze", BASE, "--fast"], "No such option"),
    "no file": (["analyze"], "Missing argument 'FILE'"),
    "no output": (["train", BASE], "Missing option"),
    "no such metric": (["analyze", BASE, "--metric", "hamming"], "'ip', 'l2', 'cosine'"),
    "no int": (["train", BASE, "--code-bytes", "many", "-o", "x"], "'--code-bytes'"),
    "too many bytes": (["train", BASE, "--code-bytes", 999, "-o", "x"], "--code-bytes=999 must"),
    "a negative seed": (["train", BASE, "--seed", -1, "-o", "x"], "--seed=-1 must be from 0"),
    "no lists": (["build", BASE, "--nlist", 0, "-o", "x"], "--nlist=0 must be at least 1"),
    "no threads": (["analyze", BASE, "--threads", 0], "--threads is 0, expected 1 to"),
    "no such directory": (["train", BASE, "-o", "no/x.wf"], "does not exist; create it"),
    "a directory": (["train", BASE, "-o", "."], "-o . is a directory"),
    "the input": (["build", "own.npy", "-o", "own.npy"], "-o own.npy is an input file"),
    "no goal": (["optimize", BASE], "--target-recall R, --max-bytes N or --objective NAME"),
    "two trainings": (
        ["build", BASE, "--codec", "codec.wf", "--code-bytes", 8, "-o", "x"],
        "--code-bytes applies to training",
    ),
    "other lists": (
        ["build", BASE, "--codec", "codec.wf", "--nlist", 7, "-o", "x"],
        "--nlist 7: expected a codec of 7 cells, got 32 in codec.wf",
    ),
    "a key without queries": (
        ["train", BASE, "--queries-key", "a", "-o", "x"],
        "--queries-key a needs --queries FILE",
    ),
    "lists of a flat index": (
        ["search", "flat.wf", QUERY, "--nprobe", 2],
        "--nprobe 2 needs inverted lists; flat.wf",
    ),
    "a target of a flat index": (
        ["search", "flat.wf", QUERY, "--target-recall", 0.9],
        "--target-recall 0.9 needs inverted lists; flat.wf",
    ),
    "two numbers of lists": (
        ["search", "flat.wf", QUERY, "--nprobe", 2, "--target-recall", 0.9],
        "--nprobe 2 and --target-recall 0.9: expected one of them",
    ),
    "no neighbours": (["search", "flat.wf", QUERY, "-k", 0], "-k=0 must be at least 1"),
}
BAD_DATA = {
    "no such file": (["analyze", "none.npy"], "none.npy: cannot open: No such file"),
    "another ending": (["analyze", "x.csv"], "x.csv: unknown extension '.csv'"),
    "damaged": (["analyze", "damaged.npy"], "damaged.npy: not an array"),
    "no rows": (["analyze", "empty.npy"], "empty.npy: expected at least 1 row, got 0"),
    "NaN": (["build", "nan.npy", "-o", "x"], "nan.npy: row 3700 "),
    "other dimensions": (
        ["search", "flat.wf", "own.npy"],
        "own.npy: expected queries of 64 dimensions, got 8",
    ),
    "other shards": (["build", BASE, "own.npy", "-o", "x"], "own.npy has 8 dimensions"),
    "other vectors": (["encode", "codec.wf", "own.npy", "-o", "x"], "own.npy has 8 dimensions"),
    "no codec": (["encode", BASE, BASE, "-o", "x"], "base.npy: "),
    "no index": (["search", "codec.wf", QUERY], "codec.wf: holds a codec"),
    "no file of ours": (["info", BASE], "base.npy: expected a waterfill codec or index"),
    "a damaged index": (["info", "damaged.wf"], "damaged.wf: "),
}


@pytest.fixture
def files(run, made, base_64):
    np.save(run.directory / "own.npy", np.ones((9, 8), dtype="f4"))
    np.save(run.directory / "empty.npy", np.ones((0, 8), dtype="f4"))
    x = base_64.copy()
    x[3700, 5] = np.nan
    np.save(run.directory / "nan.npy", x)
    (run.directory / "damaged.npy").write_bytes(b"nothing of NumPy's")
    (run.directory / "x.csv").write_text("1, 2")
    for name in ("base.npy", "query.npy", "codec.wf", "flat.wf"):
        (run.directory / name).write_bytes((made / name).read_bytes())
    data = bytearray((made / "flat.wf").read_bytes())
    data[len(data) // 2] ^= 1
    (run.directory / "damaged.wf").write_bytes(data)
    return set(os.listdir(run.directory))


@pytest.mark.parametrize(("code", "case"), [(2, c) for c in BAD_USAGE] + [(1, c) for c in BAD_DATA])
def test_errors_are_one_line(run, files, code, case):
    arguments, words = (BAD_USAGE | BAD_DATA)[case]
    done = run(*arguments, code=code)
    assert done.out == ""
    assert words in done.err
    assert done.err.startswith("waterfill: ")
    assert done.err.count("\n") == 1
    assert set(os.listdir(run.directory)) == files


CHEAP = {
    "seed": (2, ["train", BASE, "--seed", -1, "-o", "x"], "--seed=-1 must be from 0"),
    "queries": (1, ["train", BASE, "--queries", "own.npy", "-o", "x"], "expected queries of 64"),
    "queries of build": (
        1,
        ["build", BASE, "--queries", "own.npy", "-o", "x"],
        "own.npy: expected queries of 64 dimensions, got 8",
    ),
    "shards": (1, ["build", BASE, "own.npy", "-o", "x"], "own.npy has 8 dimensions"),
    "lists": (
        1,
        ["build", BASE, "--nlist", 5000, "-o", "x"],
        "x has 2000 rows, too few for nlist=5000 lists",
    ),
    "bytes": (2, ["build", BASE, "--code-bytes", 65, "-o", "x"], "--code-bytes=65 must be from 1"),
    "price": (
        2,
        ["optimize", BASE, "--max-bytes", 20, "--price-per-gb", -1],
        "--price-per-gb=-1.0 must be at least 0",
    ),
    "target": (2, ["optimize", BASE, "--target-recall", 2], "--target-recall=2"),
    "neighbours": (2, ["optimize", BASE, "--target-recall", 0.9, "-k", 0], "-k=0 must be"),
    "queries of optimize": (
        1,
        ["optimize", BASE, "--target-recall", 0.9, "--queries", "own.npy"],
        "own.npy: expected queries of 64 dimensions, got 8",
    ),
    "directory of report": (
        2,
        ["report", BASE, "--max-bytes", 20, "--codec", "no/c.wf", "-o", "x.html"],
        "does not exist; create it",
    ),
    "bytes of bench": (
        2,
        ["bench", BASE, "--code-bytes", 8, "--code-bytes", 65],
        "--code-bytes=65 must be from 1 to the number of dimensions, 64",
    ),
    "ending of a picture": (
        2,
        ["ramp", "--index", "flat.wf", "--picture", "curve.csv"],
        "--picture curve.csv: expected a name ending in .png .svg .pdf",
    ),
    "data of reproduce": (1, ["reproduce", "codec.wf", "own.npy"], "own.npy has 8 dimensions"),
}


@pytest.mark.parametrize("case", CHEAP)
def test_what_is_cheap_is_checked_first(run, files, monkeypatch, case):
    """Nothing is analysed, trained, drawn or searched before an error that is seen at once."""

    def long_work(*_, **__):
        raise AssertionError("long work")

    for name in (
        *("recipe.analyze_rows", "reproduction.analyze", "codec.train"),
        *("optimizer.optimize.split_sample", "cli.commands.bench.split_sample"),
        "cli.commands.ramp.CapacityTest",
    ):
        monkeypatch.setattr(f"waterfill.{name}", long_work)
    code, arguments, words = CHEAP[case]
    done = run(*arguments, code=code)
    assert words in done.err
    assert "long work" not in done.err
    assert set(os.listdir(run.directory)) == files


def test_a_directory_that_cannot_be_written_to_is_found_first(run, files, monkeypatch):
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    done = run("train", BASE, "-o", "x.wf", code=2)
    assert "-o x.wf: directory" in done.err
    assert "is not writable" in done.err


def test_a_traceback_for_those_who_ask(run, files):
    assert "Traceback" in run("analyze", "damaged.npy", "--debug", code=1).err
    assert "Traceback" in run("analyze", "damaged.npy", code=1, WATERFILL_DEBUG="1").err


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_the_extra(module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys, "argv", ["waterfill", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f'waterfill: the command waterfill needs {module}: pip install ".[cli]" in a checkout '
        "of waterfill\n"
    )


@pytest.mark.parametrize("place", ["read", "train", "write"])
def test_an_interrupt_leaves_no_file(run, made, monkeypatch, place):
    """Ctrl-C raises KeyboardInterrupt wherever the main thread is."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    owner, name = {
        "read": (Vectors, "read"),
        "train": (wf.IndexFlat, "train"),
        "write": (wf, "write_index"),
    }[place]
    monkeypatch.setattr(owner, name, interrupt)
    done = run("build", made / "base.npy", "-o", "x.wf", code=130)
    assert (done.out, done.err) == ("", "waterfill: interrupted; no partial file is left\n")
    assert os.listdir(run.directory) == []


def test_a_signal_while_a_process_trains(run, base):
    np.save(run.directory / "big.npy", np.tile(base, (12, 1)))
    process = subprocess.Popen(
        [*COMMAND, "build", "big.npy", "--effort", "best", "-o", "big.wf", "--threads", "1"],
        cwd=run.directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 60
    while sys.platform == "linux" and "big.npy" not in maps.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(1 if sys.platform == "linux" else 4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert err == "waterfill: interrupted; no partial file is left\n"
    assert os.listdir(run.directory) == ["big.npy"]


def writes_in(directory: Path, pid: int) -> bool:
    """Whether a process has opened a new file in a directory: a temporary one, or unnamed."""
    if any(name.endswith(".tmp") for name in os.listdir(directory)):
        return True
    opened = []
    for number in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(OSError):
            opened.append(os.readlink(number))
    return any(name.startswith(f"{os.path.realpath(directory)}/#") for name in opened)


@pytest.mark.parametrize(
    ("number", "code", "lines"), [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 0)]
)
def test_an_end_while_codes_are_written(run, made, number, code, lines):
    """Codes go to a temporary file, which an interrupt takes away."""
    rows = np.lib.format.open_memmap(
        run.directory / "big.npy", mode="w+", dtype=np.float16, shape=(4_000_000, 64)
    )
    rows.flush()
    process = subprocess.Popen(
        [*COMMAND, "encode", made / "codec.wf", "big.npy", "-o", "codes.npy", "--threads", "1"],
        cwd=run.directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not writes_in(run.directory, process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (code, lines)
    assert os.listdir(run.directory) == ["big.npy"]


def test_a_reader_that_has_seen_enough(made):
    """As in `waterfill search ... --json | head -1`."""
    process = subprocess.Popen(
        [*COMMAND, "search", made / "flat.wf", made / BASE, "-k", "100", "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
