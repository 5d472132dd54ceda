"""Write the golden files of this format version. Existing ones are never overwritten.

Each is an index as some release wrote it, with what a search in it found then. Whatever changes in
training or search, such files must be read, written back byte for byte, and searched as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np

import waterfill as wf

HERE = Path(__file__).parent


def codecs(x: np.ndarray) -> dict[str, wf.Codec]:
    """What each version of the format brought, by the name of its files."""
    analysis = wf.analyze(x)
    waterfill = wf.Plan.waterfill(analysis, code_bytes=3)
    classic = wf.Plan.classic(analysis, 2 / 12, 10 / 12, by="dimensions")
    fine = wf.Plan.waterfill(analysis, code_bytes=11)
    return {
        "1.0-waterfill": wf.Codec.train(x, waterfill, cells=0),
        "1.0-classic": wf.Codec.train(x, classic),
        "1.1-cells": wf.Codec.train(x, waterfill, cells=16),
        "1.1-best": wf.Codec.train(x, waterfill, cells=300, effort="best", queries=x[:50] + 1),
        "1.1-second-bytes": wf.Codec.train(x, fine, cells=0),
        "1.3-manifest": wf.Codec.train(x, waterfill, 7, cells=16, queries=x[:50] + 1, metric="ip"),
    }


def indexes(x: np.ndarray) -> Iterator[tuple[str, wf.IndexFlat | wf.IndexIVF]]:
    """Index by the name of its file."""
    for name, codec in codecs(x).items():
        for metric in ("ip", "l2"):
            index = wf.IndexFlat(codec, metric)
            index.add(x[:500])
            yield f"{name}-{metric}", index
    codec = codecs(x)["1.1-cells"]
    for refine in ("float16", "int8", "float32"):
        index = wf.IndexFlat(codec, "l2", refine=refine, k_factor=3)
        index.add_with_ids(x[:500], np.arange(500)[::-1] * 10_000_000_000 - 77)
        yield f"1.2-ids-{refine}", index
    quantizer = faiss.IndexFlatL2(12)
    quantizer.add(codec._core.arrays["centroids"])
    for name, given in (("lists", None), ("quantizer", quantizer)):
        ivf = wf.IndexIVF(codec, 16, given, metric="ip")
        ivf.nprobe = 4
        ivf.add(x[:500])
        ivf.remove_ids(np.arange(40, 50))
        yield f"1.2-ivf-{name}", ivf
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    plan = wf.Plan.waterfill(wf.analyze(unit), code_bytes=3)
    codec = wf.Codec.train(unit, plan, cells=16)
    for metric in ("ip", "l2"):
        ivf = wf.IndexIVF(codec, 16, metric=metric)
        ivf.nprobe = 4
        ivf.add(unit[:500])
        yield f"1.4-directions-{metric}", ivf
    flat = wf.IndexFlat(codecs(x)["1.0-waterfill"], "l2")
    flat.add(x[:300])
    yield "1.5-flat", flat
    ivf = wf.IndexIVF(codecs(x)["1.1-cells"], 16, metric="l2", refine="float16")
    ivf.nprobe = 4
    ivf.add_with_ids(x[:300], np.random.default_rng(2).permutation(300) * 10_000_000_000 - 77)
    yield "1.5-lists", ivf
    for metric in ("ip", "l2"):
        ivf = wf.IndexIVF(codec, 16, metric=metric)
        ivf.add(unit[:500])
        ivf.nprobe = ivf.nprobe  # without a target
        yield f"1.6-list-recall-{metric}", ivf
    for metric in ("ip", "l2"):
        ivf = wf.IndexIVF(codec, 16, metric=metric, target_recall=0.8)
        ivf.add(unit[:500])
        yield f"1.7-target-recall-{metric}", ivf


def main() -> int:
    """Write what is missing; return the exit status."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((900, 12)) * np.geomspace(2, 0.2, 12) + 0.5).astype("f4")
    for name, index in indexes(x):
        path = HERE / f"{name}.wf"
        if path.exists():
            print(f"{path.name} exists and stays as it is", file=sys.stderr)
        else:
            wf.write_index(index, path)
            distances, labels = index.search(x[-20:], 5)
            np.savez(
                path.with_suffix(".npz"),
                queries=x[-20:],
                distances=distances,
                labels=labels,
                decoded=index.sa_decode(index.codes(0, 40)),
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
