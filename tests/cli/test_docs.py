"""The guide shows what the command prints."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.command_runner import DATA

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
# Training that takes other instructions sums the same, eigenvectors come from NumPy's LAPACK: what
# is found may differ in its last digits, or in its order.
EXACT = ("analyze", "encode", "train", "export-faiss", "add", "remove")


def examples() -> list[tuple[str, str]]:
    """Return commands of the guide, in order, and what it shows of their output."""
    blocks = re.findall(r"```\n( *\$ waterfill .*?)```", GUIDE.read_text(), re.DOTALL)
    found = []
    for block in blocks:
        for part in re.split(r"^ *\$ waterfill ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


def squeezed(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.skipif(not GUIDE.exists(), reason="an installed package has no docs")
def test_the_guide_shows_what_the_command_prints(run):
    for name in ("base.npy", "query.npy"):
        shutil.copy(DATA / name, run.directory)
    commands = examples()
    assert len(commands) >= 8
    run("build", "base.npy", "--code-bytes", 48, "-o", "base.wf")
    for command, shown in commands:
        wrong = "waterfill: " in shown
        done = run(*shlex.split(command), code=2 if wrong else 0)
        if wrong:
            assert squeezed(shown) == squeezed(done.err)
        elif command.startswith(EXACT):
            assert squeezed(shown) == squeezed(done.out)
