"""The package as a user meets it."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import waterfill as wf
from waterfill import _core

ROOT = Path(__file__).resolve().parents[1]


PACKAGE = Path(wf.__file__).parent
SUB_PACKAGES = sorted(set(re.findall(r"`waterfill\.(\w+)`", wf.__doc__)))
PUBLIC = {name: getattr(wf, name) for name in wf.__all__}
IN_SUB_PACKAGES = {
    f"{package}.{name}": getattr(import_module(f"waterfill.{package}"), name)
    for package in SUB_PACKAGES
    for name in getattr(import_module(f"waterfill.{package}"), "__all__", ())
}


@pytest.mark.parametrize("name", [*PUBLIC, *IN_SUB_PACKAGES])
def test_public_names_are_documented(name):
    thing = {**PUBLIC, **IN_SUB_PACKAGES}[name]
    if not (inspect.isclass(thing) or callable(thing)):
        return  # a constant, which the module documents
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{attribute}"


@pytest.mark.parametrize("package", SUB_PACKAGES)
def test_sub_packages_list_their_public_names(package):
    assert import_module(f"waterfill.{package}").__all__


def test_a_name_is_public_in_one_place():
    assert len(SUB_PACKAGES) >= 9
    # What is done on a cluster or a GPU has the name of what is done in a process.
    twins = ("scale.analyze", "scale.build", "gpu.IndexFlat", "gpu.IndexIVF")
    own = {name for name in IN_SUB_PACKAGES if name not in twins}
    public = [*PUBLIC, *(name.partition(".")[2] for name in own)]
    assert sorted(public) == sorted(set(public))
    families = ("IDSelector", "SearchParameters")
    counted = {next((f for f in families if name.startswith(f)), name) for name in wf.__all__}
    assert len(counted) <= 41
    assert sorted(wf.__all__) == list(wf.__all__)


def imported_from_the_root(path: Path) -> set[str]:
    """Names that a module of the package imports from `waterfill` itself."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "waterfill" and node.level == 0:
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import) and any(a.name == "waterfill" for a in node.names):
            names.add("*")
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("a relative import")
    return names


def test_only_commands_import_the_root_package():
    """import-linter cannot tell the compiled core from the root package; this test can."""
    modules = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"_core"}
    packages |= {path.stem for path in PACKAGE.glob("*.py")}
    assert len(modules) > 100
    for path in modules:
        if path.relative_to(PACKAGE).parts[0] == "cli":
            continue
        # Of sub-packages and modules (`from waterfill import drift`) import-linter takes care.
        others = imported_from_the_root(path) - packages
        assert not others, f"{path.relative_to(PACKAGE)} imports {others} from waterfill"
    assert imported_from_the_root(PACKAGE / "cli" / "app.py") == {"*"}


def test_the_stub_names_what_the_core_has():
    stub = ast.parse((Path(wf.__file__).parent / "_core.pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            thing = getattr(_core, node.name)
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, ast.FunctionDef):
                    assert hasattr(thing, member.name), f"{node.name}.{member.name}"
    stubbed = {n.name for n in stub.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    constants = [n for n in stub.body if isinstance(n, ast.AnnAssign) and n.value is None]
    stubbed |= {n.target.id for n in constants if isinstance(n.target, ast.Name)}
    assert {n for n in dir(_core) if not n.startswith("_")} == stubbed


def test_the_package_is_typed():
    assert (Path(wf.__file__).parent / "py.typed").is_file()


def test_the_example_of_the_optimizer_runs(tmp_path, monkeypatch, base_64):
    page = (ROOT / "docs" / "optimize.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = (block for block in blocks if "wf.optimize(" in block)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"wf": wf, "vectors": base_64[:800]}
    exec(block, scope)
    assert scope["index"].d == 64
    assert (tmp_path / "report.html").stat().st_size > 100_000


LATE = {"drift", "lifecycle", "loadtest", "metrics", "optimizer", "reporting", "server", "serving"}


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a new interpreter has loaded after a statement."""
    program = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {statement}; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_needs_numpy_alone():
    loaded = modules_after("import waterfill")
    roots = {name.partition(".")[0] for name in loaded}
    bare = {name.partition(".")[0] for name in modules_after("import numpy")}
    assert roots - bare - set(sys.stdlib_module_names) == {"waterfill"}
    assert not loaded & {f"waterfill.{name}" for name in LATE | {"cli"}}
    assert "importlib.metadata" not in loaded  # takes longer than all of waterfill
    assert {"waterfill.codec", "waterfill.index.flat"} <= loaded


@pytest.mark.skipif(sys.platform != "linux", reason="reads an ELF file")
def test_the_extension_is_hardened():
    """It reads files from strangers: canaries, checked copies, and no writable jump tables."""
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("readelf is not installed")
    show = [readelf, "--wide", "--dynamic", "--program-headers", "--dyn-syms", _core.__file__]
    text = subprocess.run(show, capture_output=True, text=True, check=True, timeout=60).stdout
    if "__asan_init" in text:
        pytest.skip("sanitizers replace these")
    assert "__stack_chk_fail" in text
    if "libstdc++" in text:  # Clang with its own library leaves no copy of unknown size
        assert re.search(r"__\w+_chk@", text)  # of _FORTIFY_SOURCE
    assert "GNU_RELRO" in text
    assert re.search(r"FLAGS.*(BIND_NOW|NOW)", text)
    stack = next(line for line in text.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack


def test_the_installed_package_names_the_licences_of_what_it_contains():
    """pybind11's headers are compiled into the extension; its licence asks for a copy."""
    files = importlib.metadata.files("waterfill") or []
    licences = {file.name: file for file in files if "licenses" in file.parts}
    assert {"LICENSE", "pybind11.txt"} <= set(licences)
    assert "Wenzel Jakob" in licences["pybind11.txt"].read_text()
