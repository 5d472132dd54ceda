"""The package as a user meets it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import waterfill as wf
from waterfill import _core

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", wf.__all__)
def test_public_names_are_documented(name):
    thing = getattr(wf, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{attribute}"


def test_the_stub_names_what_the_core_has():
    stub = ast.parse((Path(wf.__file__).parent / "_core.pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            thing = getattr(_core, node.name)
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, ast.FunctionDef):
                    assert hasattr(thing, member.name), f"{node.name}.{member.name}"
    stubbed = {n.name for n in stub.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert {n for n in dir(_core) if not n.startswith("_")} == stubbed


def test_the_package_is_typed():
    assert (Path(wf.__file__).parent / "py.typed").is_file()


def test_the_readmes_example_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(blocks[0], scope)
    assert wf.read_index("corpus.wf").ntotal == 20_000
    assert scope["labels"][:, 0].tolist() == list(range(5))


def test_the_readmes_optimizer_runs(tmp_path, monkeypatch, base_64):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "wf.optimize(" in block)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"wf": wf, "vectors": base_64[:800]}
    exec(block, scope)
    assert scope["index"].d == 64
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_the_readmes_monitor_and_swap_run(base, codec):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "wf.DriftMonitor" in block)
    index = wf.IndexFlat(codec)
    index.add(base)
    scope: dict[str, object] = {"wf": wf, "np": np, "vectors": base, "index": index}
    exec(block, scope)
    assert scope["live"].generation == 2
    assert not scope["report"].drift


def test_importing_needs_numpy_alone():
    program = "import sys, waterfill; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    bare = subprocess.run(
        [sys.executable, "-I", "-c", program.replace("waterfill", "numpy")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    foreign = set(done.stdout.split()) - set(bare.stdout.split()) - set(sys.stdlib_module_names)
    assert foreign == {"waterfill"}
