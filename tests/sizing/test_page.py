"""The command and the examples of docs/scale.md run, and print what the page shows."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.command_runner import Runner
from support.doc_examples import DOCS, needs_docs, run_example


@pytest.fixture
def directory(tmp_path):
    shutil.copy(Path(__file__).parent / "rates-768.json", tmp_path)
    return tmp_path


@needs_docs
def test_the_command_prints_what_the_page_shows(directory):
    ((command, shown),) = re.findall(
        r"```\n\$ waterfill (.+?)\n(.+?)```", (DOCS / "scale.md").read_text(), re.DOTALL
    )
    printed = Runner(directory)(*shlex.split(command)).out
    assert [line.split() for line in printed.splitlines() if line.strip()] == [
        line.split() for line in shown.splitlines() if line.strip()
    ]


@needs_docs
def test_the_examples_run(directory, monkeypatch):
    names = run_example("scale.md", monkeypatch, directory)
    assert names["found"].nodes == 2
    assert names["kept"].rows == 2 * 768 * 10**9
