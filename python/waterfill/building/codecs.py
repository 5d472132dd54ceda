"""The codec of a build: given, trained on a sample, or left by an interrupted run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from waterfill import _core
from waterfill._util.progress import Meter
from waterfill._util.validation import Metric
from waterfill.building.record import Journal
from waterfill.building.sample import draw
from waterfill.building.source import Source
from waterfill.building.streams import RemoteStream, Stream
from waterfill.building.workers import own_threads
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy
from waterfill.data.rows import Rows
from waterfill.folder.directory import codec_name
from waterfill.index.recall_warnings import warn_of_training
from waterfill.io import read_codec, write_codec
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.training.cells import Cells

CODEC = 1
"""Number of the codec's file."""

_CODE_BYTES = 48


@dataclass(frozen=True)
class CodecChoice:
    """What the codec is made from.

    Attributes
    ----------
    given : Codec, Plan or Recipe
    metric : {'ip', 'l2', 'cosine'}
    nlist : int or None
    queries : Rows or None
    seed : int
        Of the sample, and of training with a plan; a recipe has its own.
    refine : str or None
        Rows that the folder keeps.
    """

    given: Codec | Plan | Recipe
    metric: Metric
    nlist: int | None
    queries: Rows | None
    seed: int
    refine: str | None = None

    @property
    def identity(self) -> Any:
        """What changes if the codec may, for JSON."""
        if isinstance(self.given, Codec):
            return ["codec", self.given.fingerprint]
        if isinstance(self.given, Plan):
            made: Any = hashlib.sha256(self.given.to_json().encode()).hexdigest()
        else:
            made = asdict(self.given)
            if self.given.cells == "auto":  # as before there was this setting
                del made["cells"]
        queries = None
        if self.queries is not None:
            digest = hashlib.sha256()
            for _, block in self.queries.blocks(finite=False, missing=True):
                digest.update(block.tobytes())
            queries = digest.hexdigest()
        return [type(self.given).__name__.lower(), made, self.seed, queries]

    @property
    def row_bytes(self) -> int:
        """Bytes of a code, known before training."""
        if isinstance(self.given, Codec):
            return self.given.code_size
        groups = self.given.code_bytes if isinstance(self.given, Recipe) else len(self.given.groups)
        return groups + 3

    def make(
        self,
        source: Source | Stream,
        path: str,
        journal: Journal,
        rows: int,
        policy: Policy,
        workers: int,
        meter: Meter,
    ) -> Codec:
        """Return the codec, and leave it in the folder."""
        name = os.path.join(path, codec_name(CODEC))
        found = _leftover_codec(name, journal.codec)
        if found is not None:
            return found
        if isinstance(self.given, Codec):
            codec = self.given
        else:
            sample = draw(source, rows, self.seed, policy, workers, meter)
            # Workers elsewhere have the cores that they asked for; here all threads are free.
            with own_threads(0 if isinstance(source, RemoteStream) else workers):
                codec = self._trained(sample, meter)
        write_codec(codec, name)
        journal.shards.clear()
        journal.write({"codec": codec.fingerprint})
        return codec

    def _trained(self, sample: Any, meter: Meter) -> Codec:
        if self.nlist is not None and len(sample) < self.nlist:
            raise ValueError(
                f"nlist={self.nlist}: training draws {len(sample):,} rows, too few for as many "
                "lists; give more memory, or fewer lists"
            )
        cells: Cells | None = self.nlist
        if cells is None and isinstance(self.given, Plan):
            cells = "auto"
        queries = None if self.queries is None else self.queries.source
        options: Any = {"cells": cells, "queries": queries, "progress": meter}
        if isinstance(self.given, Recipe):
            codec = self.given.train(sample, self.metric, **options)
        else:
            assert isinstance(self.given, Plan)
            codec = Codec.train(sample, self.given, self.seed, metric=self.metric, **options)
        warn_of_training(codec, self.metric, len(sample), self.refine)
        return codec


def _leftover_codec(name: str, fingerprint: str) -> Codec | None:
    """Return the codec that an interrupted run has left."""
    if not fingerprint:
        return None
    try:
        codec = read_codec(name)
    except (OSError, _core.FormatError):
        return None
    return codec if codec.fingerprint == fingerprint else None


def choose(
    codec: Any,
    d: int,
    metric: Metric | None,
    nlist: int | None,
    queries: Any,
    seed: int,
    refine: str | None = None,
) -> CodecChoice:
    """Check what the codec is to be made from."""
    if codec is None:
        codec = Recipe(d, min(_CODE_BYTES, d), seed=seed)
    if not isinstance(codec, Codec | Plan | Recipe):
        raise TypeError(
            "codec must be a waterfill.Codec, Plan or Recipe, or None, got " + type(codec).__name__
        )
    if codec.d != d:
        raise ValueError(f"codec has {codec.d} dimensions, expected {d}, as the vectors have")
    if isinstance(codec, Codec) and queries is not None:
        raise ValueError("queries: they are for training, and the codec is trained")
    if isinstance(codec, Codec) and nlist is not None and codec.cells != nlist:
        raise ValueError(f"codec has {codec.cells} cells, expected nlist={nlist}")
    if metric is None:
        plan = codec.plan if isinstance(codec, Codec) else codec
        metric = "cosine" if isinstance(plan, Plan) and plan.normalize else "ip"
    rows = None if queries is None else Rows(queries, "queries", d)
    if rows is not None and rows.n == 0:
        raise ValueError("queries has no rows; at least 1 is needed")
    return CodecChoice(codec, metric, nlist, rows, seed, refine)


def shard_row_bytes(choice: CodecChoice, d: int, refine: str | None) -> int:
    """Return the bytes of a vector in a segment: code, id, and refine row."""
    kept = {None: 0, "int8": d + 8, "float16": 2 * d, "float32": 4 * d}[refine]
    return choice.row_bytes + np.dtype(np.int64).itemsize + kept
