"""Trained codecs: encode vectors to codes and decode them. A codec knows nothing of ids."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.row_policy import WITHOUT_QUARANTINE, Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.plan import Plan
from waterfill.training.cells import Cells
from waterfill.training.manifest import CODED_ROWS, Manifest, new_manifest
from waterfill.training.train import QUARTERS, Effort, Judge, to_quarters, train


@dataclass(frozen=True)
class DistortionReport:
    """Error of decoded directions, and the least that any code of as many bits could have.

    Attributes
    ----------
    bits : float
        Per dimension of the vectors, the scale and the cell's number not counted.
    cells : int
        Cells whose centroids vectors are coded from; what they take off is not in `distortion`.
    distortion : float
        Mean squared error of decoded directions as a share of their energy, on rows that were held
        out of training; with the least expected error (alpha 0).
    expected : float
        What the plan predicted.
    bound : float
        Shannon's for Gaussian dimensions with the plan's variances: reverse water-filling (Cover &
        Thomas, Elements of Information Theory, 10.3.3).
    """

    bits: float
    cells: int
    distortion: float
    expected: float
    bound: float

    @property
    def gap_db(self) -> float:
        """Distortion above the bound, in decibels; 6.02 of them are a bit a dimension."""
        return 10 * math.log10(self.distortion / self.bound) if self.distortion > 0 else -math.inf

    def __str__(self) -> str:
        return (
            f"{self.bits:.2f} bits a dimension: distortion {self.distortion:.3%} (expected "
            f"{self.expected:.3%}), Shannon bound {self.bound:.3%}, gap {self.gap_db:.2f} dB"
        )


Codes = NDArray[np.uint8]

_SCALE_ENDS = (1, 255)
_WIDE_SCALE = 128  # its ends' ratio; what is cut off below is tiny beside most vectors then


class Codec:
    """Turns vectors into codes of `code_size` bytes and back. Made by `train`.

    The same data, plan and seed give the same codes, on any number of threads and with any
    instruction set; a vector's code depends on nothing but the vector.
    """

    def __init__(self, core: _core.Codec) -> None:
        self._core = core
        self._plan: Plan | None = None

    @classmethod
    def train(
        cls,
        x: Any,
        plan: Plan,
        seed: int = 0,
        *,
        cells: Cells = "auto",
        queries: Any = None,
        metric: Judge | None = None,
        effort: Effort = "balanced",
        alpha: float | None = None,
        policy: Policy = "raise",
    ) -> Codec:
        """Train codebooks on a sample of rows, and choose what only a search can tell.

        Codebooks come from k-means (Lloyd 1982; k-means++ start, Arthur & Vassilvitskii 2007) and
        are renumbered so that the high nibble of each byte is a coarse code (product quantization:
        Jegou, Douze & Schmid 2011). Rows that are held out as queries decide the exponent of the
        scale, how many groups the coarse stage reads, and how many candidates it hands on.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors like those to be coded. At most 65,536 rows are used, drawn without replacement;
            the others are not read.
        plan : Plan
        seed : int
            Of the draw and of k-means: 0 to 2**64 - 1.
        cells : int, 'auto', or array_like, shape (c, d)
            Code vectors from the nearest of so many centroids (k-means, at most 65,536) instead of
            from the mean, or from centroids that are given; 0 codes them from the mean. An index
            keeps vectors cell by cell and needs not store which one it is. The plan's basis and
            groups are made anew for what is left of the vectors; its number of bytes stays.
            ``auto``: up to 1,024 cells of 48 rows or more, where they make the expected error
            smaller by a twentieth and a trial finds no fewer neighbours; classic plans get none.
        queries : array_like, shape (m, d), optional
            Queries like those to come, for data that queries do not resemble (words that ask for
            texts, say). The basis is turned and weighted to where they look (not for classic
            plans), and 32 or more of them are what alpha and the depth of searches are chosen
            with. At most 65,536 are used; fewer than some d of them count as if others were spread
            as the data.
        metric : {'ip', 'l2', 'cosine'}, optional
            Judge cells by this metric alone; by default they must serve inner product and L2.
        effort : {'fast', 'balanced', 'best'}
            ``fast``: fewer steps of k-means, and no cells unless asked for. ``best``: every byte of
            a code is chosen with regard to the others, so that the decoded direction is nearer to
            the vector's, not each group's part to its own: encoding takes some four times as long.
        alpha : {0, 0.25, 0.5, 0.75, 1}, optional
            Exponent of the scale for both metrics, instead of the one that finds most neighbours.
        policy : {'raise', 'drop'}
            What is done about rows of `x` and `queries` with a NaN or an infinity. ``drop``: all
            rows are read, and the codec, manifest included, is the one that the others alone give.

        Returns
        -------
        Codec

        Raises
        ------
        ValueError
            If `x` has no rows, another number of dimensions than the plan, or a row with a NaN or
            an infinity among those used.
        TypeError
            If an argument has the wrong type.

        Warns
        -----
        RuntimeWarning
            Under ``drop``, if rows are left out, with their numbers.
        """
        made = train(
            x,
            plan,
            seed,
            cells=cells,
            queries=queries,
            metric=metric,
            effort=effort,
            alpha=alpha,
            policy=as_policy(policy, WITHOUT_QUARANTINE),
        )
        codec = cls(made.core)
        if len(made.held_out):
            made.core.distortion = codec._distortion(made.held_out)
        codec.manifest = new_manifest(
            shape=(made.rows.n, made.rows.d),
            dtype=str(made.rows.dtype),
            drawn=(made.sample, made.held_out),
            queries=made.queries,
            plan=plan,
            training={
                "seed": seed,
                "cells": None if isinstance(cells, np.ndarray) else cells,
                "metric": metric,
                "effort": effort,
                "alpha": None if alpha is None else float(alpha),
            },
            codes=codec._coded(made.sample[:CODED_ROWS]),
        )
        return codec

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return self._core.d

    @property
    def code_size(self) -> int:
        """Bytes of a code: the groups', the scale, and the number of the cell.

        An index does not store the last: see `IndexFlat.bytes_per_vector`.
        """
        return self._core.code_size

    @property
    def plan(self) -> Plan:
        """The plan it was trained with."""
        if self._plan is None:
            self._plan = Plan.from_json(self._core.plan)
        return self._plan

    @property
    def alpha(self) -> dict[str, float]:
        """Exponent of the scale for ``ip`` and ``l2``: 0 keeps decoded lengths, 1 restores them."""
        settings = self._core.settings
        return {m: settings[f"alpha_{m}"] / QUARTERS for m in ("ip", "l2")}

    @property
    def refine_factor(self) -> dict[str, int]:
        """Candidates per requested neighbour that get the full score, for ``ip`` and ``l2``."""
        return {m: self._core.settings[f"depth_{m}"][0] for m in ("ip", "l2")}

    @property
    def coarse_groups(self) -> dict[str, int]:
        """Groups whose high nibbles the coarse score reads, for ``ip`` and ``l2``."""
        settings, groups = self._core.settings, self._core.groups
        return {m: settings[f"depth_{m}"][1] or groups for m in ("ip", "l2")}

    @property
    def cells(self) -> int:
        """Cells whose centroids vectors are coded from; 0 if they are coded from the mean."""
        return self._core.cells

    @property
    def prune_sigma(self) -> dict[str, float]:
        """Deviations beyond which a cell is skipped, for ``ip`` and ``l2``: see `IndexFlat`."""
        return dict(zip(("ip", "l2"), self._core.settings["prune_sigma"], strict=True))

    @property
    def manifest(self) -> Manifest | None:
        """What it was made of and how; None for codecs of files before format 1.3."""
        text = self._core.manifest
        return Manifest.from_json(text) if text else None

    @manifest.setter
    def manifest(self, manifest: Manifest) -> None:
        self._core.manifest = manifest.to_json()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all but the manifest: codecs with the same one give the same codes."""
        return hashlib.sha256(self._core.to_bytes(manifest=False)).hexdigest()

    def report(self, x: Any = None) -> DistortionReport:
        """Compare the error of decoded directions with Shannon's bound.

        Parameters
        ----------
        x : array_like, shape (n, d), optional
            Vectors that were not trained on. By default what training measured on up to 256 rows
            that it held out.

        Raises
        ------
        ValueError
            If `x` is not given and training had no rows to hold out, or for rows that `encode`
            would refuse.
        TypeError
            If `x` is not an array of real numbers on the CPU.
        """
        if x is not None:
            rows = Rows(x, "x", self.d)
            parts = [(len(block), self._distortion(block)) for _, block in rows.blocks()]
            if not parts:
                raise ValueError("x has no rows; at least 1 is needed")
            distortion = float(np.average([d for _, d in parts], weights=[n for n, _ in parts]))
        else:
            distortion = self._core.distortion
            if distortion == 0:
                raise ValueError("x must be given: training had no rows to measure on")
        return DistortionReport(
            bits=8 * self._core.groups / self.d,
            cells=self.cells,
            distortion=distortion,
            expected=self.plan.predicted_distortion,
            bound=self.plan.shannon_bound,
        )

    def _distortion(self, x: FloatRows) -> float:
        if self.plan.normalize:
            x = _core.normalize_rows(x)
        codes = self._coded(x)
        points = self._core.arrays["centroids"] if self.cells else self.plan.mean[None]
        left = _core.residuals(x, self.plan.mean, points).astype(np.float64)
        error = self._core.decode(codes, 0).astype(np.float64) - x
        energy = np.square(left).sum(axis=1)
        there = energy > 0
        return (
            float((np.square(error).sum(axis=1)[there] / energy[there]).mean())
            if there.any()
            else 0.0
        )

    def _coded(self, x: FloatRows) -> Codes:
        codes = np.empty((len(x), self.code_size), dtype=np.uint8)
        self._core.encode(x, codes)
        return codes

    def encode(self, x: Any, *, policy: Policy = "raise") -> Codes:
        """Encode vectors.

        Parameters
        ----------
        x : array_like, shape (n, d)
        policy : {'raise', 'drop'}
            What is done about rows with a NaN or an infinity. ``drop``: they have no codes; which
            the others are, the ``kept`` of `waterfill.check` says.

        Returns
        -------
        uint8 (n, code_size)
            A byte a group, then the byte of the scale, then the number of the cell if there are
            cells: one byte, or two (little-endian) for more than 256 of them.

        Raises
        ------
        ValueError
            For another number of dimensions, or a NaN or an infinity (with the row's number).
        TypeError
            If `x` is not an array of real numbers on the CPU.

        Warns
        -----
        RuntimeWarning
            If vectors are so much farther from the mean (or the centroid of their cell) than the
            training sample's, or so much nearer, that their distance is cut off.
            And under ``drop``, if rows are left out, with their numbers.
        """
        allowed = as_policy(policy, WITHOUT_QUARANTINE)
        return self._encode(admit(Rows(x, "x", self.d), allowed).rows)

    def _encode(
        self,
        rows: Rows,
        prepare: Callable[[FloatRows], FloatRows] = lambda block: block,
        assign: Callable[[FloatRows], NDArray[np.uint16]] | None = None,
    ) -> Codes:
        """Encode rows as `prepare` makes them, in the cells that `assign` gives them."""
        codes = np.empty((rows.n, self.code_size), dtype=np.uint8)
        for first, block in rows.blocks():
            ready = prepare(block)
            cells = None if assign is None else assign(ready)
            self._core.encode(ready, codes[first : first + len(block)], cells)
        beyond = int(self._cut_off(codes).sum())
        if beyond:
            warnings.warn(
                f"{rows.name}: {beyond} of {rows.n} vectors are more than twice as far from the "
                f"{'centroid of their cell' if self.cells else 'mean'} as any in the training "
                "sample, or less than half as far; their distance is cut off. Train on vectors "
                "like these, or normalise them",
                RuntimeWarning,
                stacklevel=3,
            )
        return codes

    def _cut_off(self, codes: Codes) -> NDArray[np.bool_]:
        """Tell whose distance is beyond what the scale byte holds."""
        wide = 254 * self._core.settings["scale"][1] >= np.log(_WIDE_SCALE)
        ends = _SCALE_ENDS[1:] if wide else _SCALE_ENDS
        return np.isin(codes[:, self._core.groups], ends)

    def decode(self, codes: Any, *, alpha: float = 0.0) -> FloatRows:
        """Decode to the vectors with the least expected squared error.

        Parameters
        ----------
        codes : uint8 (n, code_size)
        alpha : {0, 0.25, 0.5, 0.75, 1}
            Exponent of the scale. 0 has the least squared error; 1 gives decoded vectors their
            distance from the mean back, which ranks better under most data. An index uses its own:
            `IndexFlat.reconstruct` returns vectors whose scores are those of `search`.

        Returns
        -------
        float32 (n, d)

        Raises
        ------
        ValueError, TypeError
            For codes of another shape or dtype, or another alpha.
        """
        return self._core.decode(np.ascontiguousarray(codes), to_quarters(alpha))

    def to_bytes(self) -> bytes:
        """Serialise in the format of waterfill's files (``cpp/FORMAT.md``)."""
        return self._core.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Codec:
        """Read what `to_bytes` wrote.

        Raises
        ------
        waterfill.FormatError
            If `data` is something else, or damaged.
        """
        return cls(_core.Codec.from_bytes(data))

    def __reduce__(self) -> tuple[Callable[[bytes], Codec], tuple[bytes]]:
        return Codec.from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        each = ", ".join(
            f"{name}: alpha {self.alpha[m]:g}, coarse score of {self.coarse_groups[m]} groups, "
            f"refine factor {self.refine_factor[m]}"
            for m, name in (("ip", "inner product"), ("l2", "L2"))
        )
        return f"Codec: {self.d} dimensions in {self.code_size} bytes; {each}"
