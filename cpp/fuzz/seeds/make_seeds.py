"""Write the seeds of fuzz_segment: a codec file each, with a segment file behind it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

import waterfill as wf
from waterfill import _core

HERE = Path(__file__).parent
GOLDEN = HERE.parents[2] / "tests" / "golden"
MARK = bytes(range(200, 216))

N, FAR = 70, 10_000_000_000
SEEDS = {
    # name: golden file that has the codec, metric, refine rows, ids
    "1.5-consecutive": ("1.0-waterfill-ip", "inner_product", None, np.arange(N) + 1000),
    "1.5-ascending": ("1.0-classic-l2", "l2", "int8", np.arange(N) // 3 * FAR),
    "1.5-lists": ("1.1-cells-l2", "l2", "float16", np.arange(N)[::-1] * FAR - 77),
    "1.5-cosine": ("1.4-directions-ip", "cosine", "float32", np.arange(N) % 7),
    "1.5-many-lists": ("1.1-best-ip", "inner_product", None, np.arange(N) * 5 % N),
    "1.5-empty": ("1.1-cells-ip", "inner_product", None, np.arange(0)),
}


def segment(codec: wf.Codec, metric: str, kind: str | None, ids: np.ndarray) -> bytes:
    """Return a segment file of vectors near the mean."""
    core = _core.Index(codec._core, getattr(_core.Metric, metric))
    x = np.random.default_rng(5).standard_normal((len(ids), codec.d)).astype("f4")
    rows = None
    if kind is not None:
        row_kind = getattr(_core.RowKind, kind)
        core.keep_refine_rows(row_kind)
        rows = _core.RefineRows(row_kind, codec.d)
        rows.append(x, 0)
    core.keep_ids()
    core.append(codec.encode(x), ids.astype(np.int64), rows)
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "segment")
        handle = os.open(name, os.O_RDWR | os.O_CREAT)
        core.write_segment(handle, os.fsencode(name), MARK, False)
        os.close(handle)
        return Path(name).read_bytes()


def main() -> None:
    """Write what does not exist."""
    for name, (golden, metric, kind, ids) in SEEDS.items():
        path = HERE / f"{name}.wf"
        if not path.exists():
            codec = wf.read_index(GOLDEN / f"{golden}.wf").codec
            path.write_bytes(codec.to_bytes() + segment(codec, metric, kind, ids))


if __name__ == "__main__":
    main()
