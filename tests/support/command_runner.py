"""The command as users run it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "samples"
COMMAND = [sys.executable, "-m", "waterfill.cli"]


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WATERFILL_")}
    return kept | {"COLUMNS": "80"} | more


class Runner:
    """Runs the command in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: Any, code: int = 0, **env: str) -> Done:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=self.directory,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done
        return Done(done.returncode, done.stdout, done.stderr)
