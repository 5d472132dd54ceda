"""Codecs that several test files train in the same way, trained once for a whole run.

pytest-xdist runs each file in whichever process is free, so session fixtures would train a codec
once per process. `train` keeps codecs in a directory that the processes of one run share.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

import waterfill as wf

DIRECTORY = "WATERFILL_TEST_CODECS"
"""The environment variable with the directory's path; conftest.py sets it."""


def train(x: np.ndarray, plan: wf.Plan, **options: Any) -> wf.Codec:
    """Return ``wf.Codec.train(x, plan, **options)``, read from the directory if it is there."""
    key = hashlib.sha256(np.ascontiguousarray(x).view(np.uint8).tobytes())
    key.update(repr((x.shape, x.dtype.str)).encode())
    key.update(plan.to_json().encode())
    for name, value in sorted(options.items()):
        content = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
        key.update(name.encode() + b"=" + content)
    path = Path(os.environ[DIRECTORY]) / f"{key.hexdigest()}.wf"
    if not path.exists():
        wf.write_codec(wf.Codec.train(x, plan, **options), path)  # atomic: processes may race
    return wf.read_codec(path)


def trained(x: np.ndarray, code_bytes: int, *, normalize: bool = False, **options: Any) -> wf.Codec:
    """Return the codec of a water-filling plan for `x`, as `train`."""
    plan = wf.Plan.waterfill(wf.analyze(x, normalize=normalize), code_bytes=code_bytes)
    return train(x, plan, **options)
