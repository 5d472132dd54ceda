"""The package as a user meets it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

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


def test_importing_needs_numpy_alone():
    source = "\n".join(path.read_text() for path in Path(wf.__file__).parent.glob("*.py"))
    imported = set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE))
    foreign = imported - set(__import__("sys").stdlib_module_names) - {"waterfill"}
    assert foreign == {"numpy"}
