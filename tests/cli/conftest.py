"""Fixtures: the command in an empty directory, and files that many tests read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_runner import Runner


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """The command, in an empty directory."""
    return Runner(tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, base_64, queries_64) -> Path:
    """Vectors and queries of 64 dimensions, a codec of 12 bytes, a flat index, one of lists."""
    directory = tmp_path_factory.mktemp("made")
    run = Runner(directory)
    np.save(directory / "base.npy", base_64[:2000])
    np.save(directory / "query.npy", queries_64)
    run("train", "base.npy", "--code-bytes", 12, "-o", "codec.wf")
    run("build", "base.npy", "--codec", "codec.wf", "-o", "flat.wf")
    arguments = ("--code-bytes", 12, "--nlist", 16, "--refine", "float16", "--metric", "l2")
    run("build", "base.npy", *arguments, "-o", "lists.wf")
    return directory
