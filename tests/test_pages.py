"""The Python blocks of every page run as a reader runs them: in order, in one program, as given.

Only what a page tells to install can be imported.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.doc_examples import DATA, DOCS, needs_docs
from support.page_environment import PRELUDE, absent_modules, imports, missing

TESTS = Path(__file__).parent
# Pages that no other test runs. Each is a program of its own: FAISS is registered in one of them.
OWN = [
    "bad-input.md",
    "faiss-export.md",
    "faiss-functions.md",
    "long-calls.md",
    "size.md",
    "tutorial.md",
]
SLOW = ["report.md"]
# Pages whose results another test looks at, in its own process, where everything is installed.
AGAIN = [
    "batching.md",
    "build.md",
    "capacity.md",
    "drift.md",
    "faiss.md",
    "folder.md",
    "graph.md",
    "lifecycle.md",
    "managed.md",
    "metrics.md",
    "optimize.md",
    "service.md",
    "serving.md",
]
# Pages with blocks for other programs or services, which these tests take apart.
TAKEN_APART = {
    "columns.md": "columns/test_page.py",
    "distributed.md": "scale/test_distributed_page.py",
    "integrations.md": "integrations/test_page.py",
    "migration.md": "test_migration.py",
    "stores.md": "stores/test_page.py",
}
_BLOCK = re.compile(r"```python\n(.+?)```", re.DOTALL)
_SHOWN = re.compile(r"```python\n.+?```\n\n```\n(.+?)```", re.DOTALL)


def run(page: str, directory: Path) -> str:
    """Run the blocks of a page beside the sample and texts; return what they print."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if absent := missing(text):
        stop = pytest.fail if os.environ.get("WATERFILL_REQUIRE_STORES") == "1" else pytest.skip
        stop(f"not installed: {', '.join(absent)}; see tests/requirements-stores.txt")
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, directory)
    shutil.copytree(DOCS, directory / "texts", ignore=shutil.ignore_patterns("*.png"))
    prelude = PRELUDE.format(names=absent_modules(text))
    program = "\n".join((prelude, *_BLOCK.findall(text)))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_docs
@pytest.mark.parametrize("page", OWN)
def test_a_page_runs_and_shows_what_it_prints(page: str, tmp_path: Path) -> None:
    printed = run(page, tmp_path).splitlines()
    for shown in _SHOWN.findall((DOCS / page).read_text(encoding="utf-8")):
        assert set(shown.splitlines()) <= set(printed)


@needs_docs
@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_a_slow_page_runs(page: str, tmp_path: Path) -> None:
    run(page, tmp_path)
    assert list(tmp_path.glob("*.html"))


@needs_docs
@pytest.mark.slow
@pytest.mark.parametrize("page", AGAIN)
def test_a_page_needs_only_what_it_tells_to_install(page: str, tmp_path: Path) -> None:
    run(page, tmp_path)


@needs_docs
def test_blocks_import_only_what_their_page_tells_to_install() -> None:
    faults = {}
    for path in (*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"):
        text = path.read_text(encoding="utf-8")
        found = imports(_BLOCK.findall(text)) & set(absent_modules(text))
        if found and not missing(text):  # what is not installed here may bring more
            faults[path.name] = sorted(found)
    assert not faults


def test_what_a_page_does_not_tell_to_install_is_absent(tmp_path: Path) -> None:
    text = 'Needs `pip install ".[faiss]"`.'
    absent = absent_modules(text)
    assert {"pytest", "fastapi"} <= set(absent)
    assert not {"numpy", "waterfill", "faiss"} & set(absent)
    program = PRELUDE.format(names=absent) + "import fastapi"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ModuleNotFoundError: No module named 'fastapi'" in done.stderr


def test_what_a_page_needs_may_be_missing_here() -> None:
    assert not missing('Needs `pip install ".[faiss]"`.')
    assert missing('Needs `pip install ".[faiss]" nobody-has-this`.') == ["nobody-has-this"]


@needs_docs
def test_every_page_with_blocks_is_run_by_a_test() -> None:
    run_elsewhere = set()
    for file in TESTS.rglob("test_*.py"):
        run_elsewhere |= set(re.findall(r'run_example\(\s*"([\w-]+\.md)"', file.read_text()))
    for page, test in TAKEN_APART.items():
        assert page in (TESTS / test).read_text()
    known = run_elsewhere | {*OWN, *SLOW, *TAKEN_APART}
    assert set(AGAIN) <= run_elsewhere
    pages = {path.name for path in DOCS.glob("*.md") if _BLOCK.search(path.read_text())}
    assert pages <= known
