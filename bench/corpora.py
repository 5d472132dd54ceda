"""Vectors to benchmark on: the repository's sample, a folder of arrays, or a built data set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from ground_truth import exact_neighbours
from numpy.typing import NDArray
from packages import DatasetError

Array = NDArray[Any]

SAMPLE = Path(__file__).resolve().parents[1] / "tests" / "samples"
METRICS = ("ip", "l2")
UNIT = "-unit"  # ending of a source whose rows are divided by their norm
_SEED = 5
_NOISE = 0.3  # standard deviation relative to that of the rows


@dataclass(frozen=True)
class Corpus:
    """Float32 vectors, held-out queries, and stored exact neighbours by metric."""

    name: str
    base: Array
    query: Array
    truths: Mapping[str, Array] = field(default_factory=dict)

    def truth(self, metric: str) -> Array:
        """Return the exact neighbours of each query, best first; compute them if not stored."""
        stored = self.truths.get(metric)
        return exact_neighbours(self.base, self.query, metric) if stored is None else stored

    def cut(self, rows: int) -> Corpus:
        """Keep the first `rows` vectors, without the stored neighbours, which no longer apply."""
        if rows >= len(self.base):
            return self
        return Corpus(f"{self.name}, first {rows:,}", self.base[:rows], self.query)

    def unit(self) -> Corpus:
        """Divide all rows and queries by their norm, without the stored neighbours."""
        base, query = (
            x / np.linalg.norm(x, axis=1, keepdims=True) for x in (self.base, self.query)
        )
        return Corpus(f"{self.name}, unit norm", base, query)

    def tiled(self, rows: int) -> Corpus:
        """Repeat the base with noise up to `rows` vectors; for timing only, not for recall."""
        rng = np.random.default_rng(_SEED)
        base = self.base[np.arange(rows) % len(self.base)]
        spread = np.sqrt(base.var(axis=0).mean())
        noisy = base + (_NOISE * spread) * rng.standard_normal(base.shape, dtype=np.float32)
        # Keep the norms: a codec treats constant norms differently.
        target, actual = (np.linalg.norm(x, axis=1, keepdims=True) for x in (base, noisy))
        noisy *= target / actual
        return Corpus(f"{self.name}, tiled to {rows:,}", noisy, self.query)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the corpus; `from_arguments` opens it."""
    parser.add_argument(
        "--data", metavar="DIR|NAME", help="vectors to use; default: the repository's sample"
    )
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument(
        "--rows",
        type=int,
        metavar="N",
        help="use the first N base vectors; a data set is built with N if necessary",
    )


def from_arguments(args: argparse.Namespace) -> Corpus:
    """Open the corpus that the arguments name; exit with status 1 and a message on failure."""
    try:
        corpus = find(args.data, args.cache, args.rows)
    except (DatasetError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    return corpus.cut(args.rows or len(corpus.base))


def find(source: str | None = None, cache: str | None = None, rows: int | None = None) -> Corpus:
    """Open a corpus by name or folder.

    Parameters
    ----------
    source
        A folder with ``base.npy``, ``query.npy`` and, optionally, ``gt_ip.npy`` and ``gt_l2.npy``;
        or a data set of ``datasets.py``, built if it is missing; None for the sample. A data set
        whose name ends in ``-unit`` has its rows divided by their norm, such as
        ``wordllama-unit``.
    cache
        Cache folder of ``datasets.py``.
    rows
        Minimum number of base vectors of a data set; by default its standard size.
    """
    if source is None:
        return _read(SAMPLE, "repository sample")
    if Path(source, "base.npy").is_file():
        return _read(Path(source), _name(Path(source).resolve()))
    return exactly(source, cache, max(rows or 0, _spec(source).rows))


def exactly(source: str, cache: str | None, rows: int) -> Corpus:
    """Open a data set of `rows` base vectors, as `find` does; build it if it is missing."""
    spec = _spec(source)
    corpus = _read(datasets.load(spec.name, rows, cache).path, spec.name)
    return corpus.unit() if source.endswith(UNIT) else corpus


def _spec(source: str) -> datasets.Spec:
    return datasets.find_spec(source.removesuffix(UNIT))


def _name(folder: Path) -> str:
    """Return the name of the data set built in a folder, else the folder's name."""
    manifest = folder / "manifest.json"
    name = json.loads(manifest.read_text()).get("name") if manifest.is_file() else None
    return str(name or folder.name)


def _read(folder: Path, name: str) -> Corpus:
    base, query = (np.load(folder / f"{part}.npy").astype(np.float32) for part in ("base", "query"))
    paths = {metric: folder / f"gt_{metric}.npy" for metric in METRICS}
    return Corpus(name, base, query, {m: np.load(p) for m, p in paths.items() if p.is_file()})
