"""The adapters of bench/adapters in their hosts, registered in a copy of each."""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

yaml = pytest.importorskip("yaml")

ADAPTERS = Path(__file__).parents[2] / "bench" / "adapters"
pytestmark = pytest.mark.skipif(not ADAPTERS.exists(), reason="an installed package has no bench")

BITBUDGET = """
import numpy as np
from bitbudget import INDEXES, METHODS, evaluate
base, queries = np.load("base.npy"), np.load("query.npy")
qrels = {str(q): {str(int(np.argmax(base @ queries[q]))): 1} for q in range(len(queries))}
names = [name for name in METHODS if name.startswith("waterfill")]
ids = [str(n) for n in range(len(base))], [str(n) for n in range(len(queries))]
rows = evaluate(base, queries, *ids, qrels, [*names, "float32"])
found = {row["method"]: row for row in rows}
assert {one: found[one]["bytes"] for one in names} == {
    "waterfill-half-bit": 23, "waterfill": 47, "waterfill-2bit": 95, "waterfill+rerank": 23}
assert found["waterfill-half-bit"]["recall"] < found["waterfill"]["recall"]
assert found["waterfill-2bit"]["recall"] > 0.8
assert found["waterfill+rerank"]["recall"] > 0.95
labels, size, qps = INDEXES["waterfill-ivf"](base, queries, 10)
assert labels.shape == (len(queries), 10) and 90 < size <= 96 and qps > 0
"""

VECTORDBBENCH = """
import sys
import numpy as np
from vectordb_bench.backend.clients import DB, MetricType
from vectordb_bench.backend.filter import NewIntFilter, non_filter
from vectordb_bench.cli.vectordbbench import cli
base, queries = np.load("base.npy"), np.load("query.npy")
assert "waterfill" in cli.commands
config = DB.Waterfill.config_cls(path="index").to_dict()
case = DB.Waterfill.case_config_cls()(code_bytes=24)
case.metric_type = MetricType.IP
client = DB.Waterfill.init_cls(base.shape[1], config, case, drop_old=True)
with client.init():
    for first in range(0, len(base), 500):
        rows = base[first : first + 500]
        ids = range(first, first + len(rows))
        assert client.insert_embeddings(rows.tolist(), [*ids]) == (len(rows), None)
    client.optimize(len(base))
    true = np.argsort(-queries @ base.T, axis=1)[:, :10]
    found = [client.search_embedding(query.tolist(), 10) for query in queries]
    assert np.mean([len({*a} & {*b}) for a, b in zip(true.tolist(), found)]) > 9
    client.prepare_filter(NewIntFilter(filter_rate=0.5, int_field="id", int_value=4000))
    assert min(client.search_embedding(queries[0].tolist(), 10)) >= 4000
    client.prepare_filter(non_filter)
    assert client.search_embedding(queries[0].tolist(), 10) == found[0]
"""


@pytest.fixture
def folder(tmp_path, base, queries):
    np.save(tmp_path / "base.npy", base)
    np.save(tmp_path / "query.npy", queries)
    return tmp_path


def registered(host, package, folder):
    """Register the adapter in a copy of an installed package, twice."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed; bench/adapters/README.md says which one")
    skipped = shutil.ignore_patterns("__pycache__", "results", "*.png")
    shutil.copytree(Path(found.origin).parent, folder / package, ignore=skipped)
    register = runpy.run_path(str(ADAPTERS / "registration.py"))["HOSTS"][host]
    register(folder / package)
    once = {path: path.read_bytes() for path in folder.rglob("*.py")}
    register(folder / package)
    assert {path: path.read_bytes() for path in folder.rglob("*.py")} == once


def run(program, folder):
    paths = [str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bitbudget(folder):
    registered("bitbudget", "bitbudget", folder)
    run(BITBUDGET, folder)


def test_vectordbbench(folder):
    registered("vectordbbench", "vectordb_bench", folder)
    run(VECTORDBBENCH, folder)


def test_a_host_that_has_changed_is_said(tmp_path):
    (tmp_path / "__init__.py").write_text("nothing that we know")
    register = runpy.run_path(str(ADAPTERS / "registration.py"))["register_bitbudget"]
    with pytest.raises(SystemExit, match="the host has changed"):
        register(tmp_path)
    with pytest.raises(SystemExit, match="expected a folder of the host"):
        register(tmp_path / "none")


ANN = ADAPTERS / "ann-benchmarks" / "ann_benchmarks" / "algorithms" / "waterfill"
BASE = """
class BaseANN:  # what ann-benchmarks' class has of use here
    pass
"""


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
def test_ann_benchmarks(metric, tmp_path, base, queries, monkeypatch):
    """Every constructor of the configuration takes its arguments and finds the neighbours."""
    algorithms = tmp_path / "ann_benchmarks_copy"
    shutil.copytree(ANN, algorithms / "waterfill")
    checkout = os.environ.get("ANN_BENCHMARKS")  # a checkout; otherwise its base class is empty
    (algorithms / "base").mkdir()
    own = checkout and Path(checkout, "ann_benchmarks", "algorithms", "base", "module.py")
    (algorithms / "base" / "module.py").write_text(Path(own).read_text() if own else BASE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("ann_benchmarks_copy.waterfill.module")
    x, q = base[:3000], queries[:50]
    if metric == "angular":
        x, q = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, q))
    true = np.argsort(((q[:, None] - x[None]) ** 2).sum(2), axis=1)[:, :10]
    for algorithm in yaml.safe_load((ANN / "config.yml").read_text())["float"]["any"]:
        assert algorithm["base_args"] == ["@metric"]
        for group in algorithm["run_groups"].values():
            first, last = (
                [choice[end] if isinstance(choice, list) else choice for choice in group["args"]]
                for end in (0, -1)
            )
            index = getattr(module, algorithm["constructor"])(metric, *first)
            getattr(module, algorithm["constructor"])(metric, *last)
            index.fit(x)
            index.set_query_arguments(*(choice[-1] for choice in group["query_args"]))
            found = [index.query(row, 10) for row in q]
            assert np.mean([len({*a} & {*b}) for a, b in zip(true, found, strict=True)]) > 8
            index.batch_query(q, 10)
            for one, same in zip(found, index.res, strict=True):
                np.testing.assert_array_equal(one, same)
            assert index.get_additional()["bytes_per_vector"] > 0
            assert algorithm["name"] in str(index)
    with pytest.raises(NotImplementedError, match="jaccard"):
        module.WaterfillHNSW("jaccard", 16, 100)
