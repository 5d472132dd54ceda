"""Fixtures: the command, and files that it made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_runner import DATA, Runner


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """The command, in an empty directory."""
    return Runner(tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that many tests read: base, a codec of 24 bytes, a flat index, one of lists."""
    directory = tmp_path_factory.mktemp("made")
    run = Runner(directory)
    np.save(directory / "base.npy", np.load(DATA / "base.npy")[:2000])
    run("train", "base.npy", "--code-bytes", 24, "-o", "codec.wf")
    run("build", "base.npy", "--codec", "codec.wf", "-o", "flat.wf")
    arguments = ("--code-bytes", 24, "--nlist", 16, "--refine", "float16", "--metric", "l2")
    run("build", "base.npy", *arguments, "-o", "lists.wf")
    return directory
