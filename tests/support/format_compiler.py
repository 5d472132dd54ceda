"""Compile cpp/format.ksy to the reader that the tests use.

Usage: python tests/support/format_compiler.py FOLDER, where npm installed kaitai-struct-compiler.
`make format-reader` does both.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import yaml

SOURCE = Path(__file__).parents[2] / "cpp" / "format.ksy"
READER = Path(__file__).with_name("waterfill_format.py")

SCRIPT = """
const compiler = require(process.argv[1]);
const source = JSON.parse(require('fs').readFileSync(0));
compiler.compile('python', source, null, false).then(
  files => process.stdout.write(Object.values(files)[0]),
  error => { console.error(String(error)); process.exit(1); });
"""


def compile_reader(folder: Path) -> str:
    """Return the reader in Python, by the compiler in a folder of npm."""
    package = folder.resolve() / "node_modules" / "kaitai-struct-compiler"
    result = subprocess.run(
        ["node", "-e", SCRIPT, str(package)],
        input=json.dumps(yaml.safe_load(SOURCE.read_text())),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"{SOURCE.name} does not compile: {result.stderr}")
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    return f"{mark()}\n" + "\n".join(lines).strip() + "\n"


def mark() -> str:
    """Return the first line of the reader, which tells what it was compiled from."""
    return f"# format.ksy of SHA-256 {hashlib.sha256(SOURCE.read_bytes()).hexdigest()}"


if __name__ == "__main__":
    READER.write_text(compile_reader(Path(sys.argv[1])))
