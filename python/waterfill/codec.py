"""Trained codecs, which encode vectors to codes and decode them, and their distortion."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from waterfill import _core
from waterfill._util.progress import Option, metered
from waterfill._util.tensors import is_device_array
from waterfill._util.validation import Metric
from waterfill.data.arrow_codes import read_codes
from waterfill.data.row_policy import WITHOUT_QUARANTINE, Policy, admit, as_policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import Codes, encode_block, encode_on_device, encode_rows
from waterfill.layout import vector_bytes
from waterfill.plan import Plan
from waterfill.training.cells import Cells
from waterfill.training.distortion import DistortionReport, measure_distortion
from waterfill.training.manifest import CODED_ROWS, Manifest, new_manifest
from waterfill.training.train import QUARTERS, Effort, to_quarters, train
from waterfill.training.universal import UniversalSettings, train_universal

__all__ = ["DistortionReport"]

LOG = logging.getLogger("waterfill.training")

Parsed = TypeVar("Parsed")


class Codec:
    """Encoder and decoder of vectors, with codes of `code_size` bytes; made by `train`.

    Training is deterministic: the same data, plan and seed give the same codes, with any number of
    threads and on any instruction set.
    """

    def __init__(self, core: _core.Codec) -> None:
        self._core = core
        self._d = core.d  # every search asks for it
        self._plan: Plan | None = None
        self._fingerprint = ""

    @classmethod
    def train(
        cls,
        x: Any,
        plan: Plan,
        seed: int = 0,
        *,
        cells: Cells = "auto",
        queries: Any = None,
        metric: Metric | None = None,
        effort: Effort = "balanced",
        alpha: float | None = None,
        policy: Policy = "raise",
        progress: Option = False,
    ) -> Codec:
        """Train codebooks on a sample of rows and calibrate the search on held-out rows.

        Codebooks are those of product quantization [1]_: they come from k-means [2]_ with k-means++
        initialisation [3]_, and are renumbered so that the high nibble of each byte is a coarse
        code. Held-out rows serve as queries to choose the exponent of the scale, the number of
        groups that the coarse stage reads, and the number of candidates that it passes on.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors from the distribution to be encoded. At most 65,536 rows are drawn without
            replacement; the others are not read. An array on a GPU trains there, to the same codec:
            see ``docs/gpu.md``.
        plan : Plan
            The allocation of bits, such as that of `Plan.waterfill`.
        seed : int
            Seed of sampling and k-means, 0 to 2**64 - 1.
        cells : int, 'auto', or array_like, shape (c, d)
            Number of cells, at most 65,536, or their centroids. Vectors are coded relative to the
            nearest centroid instead of the mean; 0: to the mean. Centroids come from k-means, of
            vectors of one norm from spherical k-means [4]_. The plan is refitted to the residuals,
            with the same number of bytes. An index stores vectors cell by cell, so that the number
            of the cell takes no space. ``auto``: up to 1,024 cells of 48 rows or more, if they
            reduce the expected error by 5 % or more and lose no recall in a trial; none for classic
            plans.
        queries : array_like, shape (m, d), optional
            Training queries, for queries that are not distributed like the data. The basis and the
            weights are fitted to them (not for classic plans). With 32 or more, they replace the
            held-out rows in calibration. At most 65,536 are used. With fewer than about d, the fit
            leans towards the distribution of the data.
        metric : {'ip', 'l2', 'cosine'}, optional
            Metric by which ``auto`` compares recall; by default both inner product and L2.
        effort : {'fast', 'balanced', 'best'}
            ``fast``: fewer iterations of k-means, and no cells for ``auto``. ``best``: the bytes of
            a code are chosen jointly, which reduces the distortion; encoding takes about four times
            as long.
        alpha : {0, 0.25, 0.5, 0.75, 1}, optional
            Exponent of the scale for both metrics; by default the one with the best recall.
        policy : {'raise', 'drop'}
            Handling of rows of `x` and `queries` with a NaN or an infinity. ``drop``: all rows are
            read, and codec and manifest are those of training on the finite rows.
        progress : bool or callable, optional
            True shows a bar with the time left, in a terminal or a notebook; None does so if there
            is one. A callable gets a `waterfill.building.Progress` about five times a second.

        Returns
        -------
        Codec
            The codec, with its manifest.

        Raises
        ------
        ValueError
            If `x` has no rows, if its number of dimensions is not the plan's, or if a row that is
            used has a NaN or an infinity.
        TypeError
            If an argument has the wrong type.

        Warns
        -----
        RuntimeWarning
            If ``drop`` leaves rows out, with their numbers.

        References
        ----------
        .. [1] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
           IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
        .. [2] S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information
           Theory 28(2), 1982.
        .. [3] D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA,
           2007.
        .. [4] I. S. Dhillon and D. S. Modha, "Concept decompositions for large sparse text data
           using clustering", Machine Learning 42, 2001.
        """
        if is_device_array(x) or is_device_array(queries):
            from waterfill.device.arrays import device_source

            x, queries = device_source(x), device_source(queries, "queries")
        start = time.perf_counter()
        with metered(progress) as meter:
            result = train(
                x,
                plan,
                seed,
                cells=cells,
                queries=queries,
                metric=metric,
                effort=effort,
                alpha=alpha,
                policy=as_policy(policy, WITHOUT_QUARANTINE),
                tell=meter.shares("training"),
            )
        codec = cls(result.core)
        LOG.info(
            "trained a codec on %s of %s rows in %.1f s: %r",
            f"{len(result.sample):,}",
            f"{result.rows.n:,}",
            time.perf_counter() - start,
            codec,
        )
        if len(result.held_out):
            result.core.distortion = measure_distortion(result.core, codec.plan, result.held_out)
        codec.manifest = new_manifest(
            shape=(result.rows.n, result.rows.d),
            dtype=str(result.rows.dtype),
            drawn=(result.sample, result.held_out),
            queries=result.queries,
            plan=plan,
            training={
                "seed": seed,
                "cells": None if isinstance(cells, np.ndarray) else cells,
                "metric": metric,
                "effort": effort,
                "alpha": None if alpha is None else float(alpha),
            },
            codes=codec._encode_block(result.sample[:CODED_ROWS]),
        )
        return codec

    @classmethod
    def universal(
        cls,
        d: int,
        bits: int = 4,
        *,
        metric: Metric | int = "cosine",
        norms: tuple[float, float] = (1.0, 1.0),
        center: Any = None,
        seed: int = 0,
    ) -> Codec:
        """Make a codec for any data, without a sample: random rotation, one codebook for all.

        A trained codec takes fewer bytes for the same recall; this one needs no training, never
        grows stale, and codes the first vector as the last.

        Parameters
        ----------
        d : int
            Number of dimensions.
        bits : {1, 2, 4, 8}
            Per dimension. A code has ``ceil(d * bits / 8)`` bytes and one for the scale.
        metric : {'ip', 'l2', 'cosine'}
            ``cosine``: vectors are divided by their norms.
        norms : (float, float)
            The smallest and the largest norm of the vectors, less `center`; not used for
            ``cosine``. A narrow range codes the norm more precisely. Norms outside are clipped,
            with a warning.
        center : array_like, shape (d,), optional
            What is subtracted from vectors before they are coded, such as their mean, if it is
            known. It halves the error of vectors that are all positive, as of pixels. Not for
            ``cosine``.
        seed : int
            Of the rotation. The same seed gives the same codes, on any machine.

        Returns
        -------
        Codec
            The codec; it has no manifest.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of range or has the wrong type.

        Notes
        -----
        A random rotation, by Kac's random walk [1]_, makes the coordinates of any direction nearly
        normal, as in the data-oblivious codes EDEN [2]_ and RaBitQ [3]_. Groups of several
        dimensions have a codebook of normal vectors instead of a grid.

        References
        ----------
        .. [1] M. Kac, "Foundations of kinetic theory", Proceedings of the Third Berkeley Symposium
           on Mathematical Statistics and Probability 3, 1956.
        .. [2] S. Vargaftik et al., "EDEN: communication-efficient and robust distributed mean
           estimation for federated learning", ICML, 2022.
        .. [3] J. Gao and C. Long, "RaBitQ: quantizing high-dimensional vectors with a theoretical
           error bound for approximate nearest neighbor search", SIGMOD, 2024, arXiv:2405.12497.
        """
        return cls(train_universal(UniversalSettings.of(d, bits, metric, norms, seed, center)))

    @property
    def d(self) -> int:
        """Number of dimensions of the vectors."""
        return self._d

    @property
    def code_size(self) -> int:
        """Bytes per code: those of the groups, the scale, and the number of the cell.

        An index stores the number of the cell otherwise: see `bytes_per_vector`.
        """
        return self._core.code_size

    @property
    def bytes_per_vector(self) -> dict[str, float]:
        """Bytes of a vector in an index, for ``ip`` and ``l2``, without id and `refine`.

        See `IndexFlat.bytes_per_vector`.
        """
        metrics: tuple[Metric, ...] = ("ip", "l2")
        d, groups = self.d, self._core.groups
        return {m: vector_bytes(d, groups, metric=m, lists=self.cells).total for m in metrics}

    @property
    def plan(self) -> Plan:
        """The plan of the codes; refitted to residuals and queries if there are any.

        Raises
        ------
        FormatError
            If the codec is of a file whose plan is damaged.
        """
        if self._plan is None:
            plan = _parsed("PLAN", Plan.from_json, self._core.plan)
            if (plan.d, len(plan.groups)) != (self.d, self._core.groups):
                raise _core.FormatError("damaged: section PLAN is the plan of another codec")
            self._plan = plan
        return self._plan

    @property
    def alpha(self) -> dict[str, float]:
        """Exponent of the scale for ``ip`` and ``l2``: see `decode`."""
        settings = self._core.settings
        return {m: settings[f"alpha_{m}"] / QUARTERS for m in ("ip", "l2")}

    @property
    def refine_factor(self) -> dict[str, int]:
        """Candidates per neighbour that get the full score, for ``ip`` and ``l2``."""
        return {m: self._core.settings[f"depth_{m}"][0] for m in ("ip", "l2")}

    @property
    def coarse_groups(self) -> dict[str, int]:
        """Groups whose high nibbles the coarse score reads, for ``ip`` and ``l2``."""
        settings, groups = self._core.settings, self._core.groups
        return {m: settings[f"depth_{m}"][1] or groups for m in ("ip", "l2")}

    @property
    def cells(self) -> int:
        """Number of cells; 0 if vectors are coded relative to the mean."""
        return self._core.cells

    @property
    def prune_sigma(self) -> dict[str, float]:
        """Deviations beyond which a cell is skipped, for ``ip`` and ``l2``: see `IndexFlat`."""
        return dict(zip(("ip", "l2"), self._core.settings["prune_sigma"], strict=True))

    @property
    def manifest(self) -> Manifest | None:
        """The record of training; None for codecs of files before format 1.3.

        Raises
        ------
        FormatError
            If the codec is of a file whose manifest is damaged.
        """
        text = self._core.manifest
        return _parsed("MANIFEST", Manifest.from_json, text) if text else None

    @manifest.setter
    def manifest(self, manifest: Manifest) -> None:
        self._core.manifest = manifest.to_json()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all but the manifest: codecs with equal fingerprints give equal codes."""
        import hashlib  # slow to import: it loads OpenSSL

        if not self._fingerprint:
            content = self._core.to_bytes(manifest=False)
            self._fingerprint = hashlib.sha256(content).hexdigest()
        return self._fingerprint

    def report(self, x: Any = None) -> DistortionReport:
        """Compare the error of decoded directions with the Shannon bound.

        The bound is that of Gaussian dimensions with the plan's variances [1]_.

        Parameters
        ----------
        x : array_like, shape (n, d), optional
            Vectors that were not trained on. By default the result is that of training, on up to
            256 held-out rows.

        Returns
        -------
        DistortionReport
            The error, the bound, and their ratio.

        Raises
        ------
        ValueError
            If `x` is None and training held no rows out, or for rows that `encode` refuses.
        TypeError
            If `x` is not an array of real numbers on the CPU.

        References
        ----------
        .. [1] C. E. Shannon, "Coding theorems for a discrete source with a fidelity criterion", IRE
           National Convention Record, 1959.
        """
        if x is not None:
            rows = Rows(x, "x", self.d)
            parts = [
                (len(block), measure_distortion(self._core, self.plan, block))
                for _, block in rows.blocks()
            ]
            if not parts:
                raise ValueError("x has no rows; at least 1 is needed")
            distortion = float(np.average([d for _, d in parts], weights=[n for n, _ in parts]))
        else:
            distortion = self._core.distortion
            if distortion == 0:
                raise ValueError("x: training held no rows out; pass vectors to measure on")
        return DistortionReport(
            bits=8 * self._core.groups / self.d,
            cells=self.cells,
            distortion=distortion,
            expected=self.plan.predicted_distortion,
            bound=self.plan.shannon_bound,
        )

    def _encode_block(self, x: FloatRows) -> Codes:
        return encode_block(self._core, x)

    def encode(self, x: Any, *, policy: Policy = "raise") -> Codes:
        """Encode vectors.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors. A float32 array on a GPU (torch, CuPy, JAX, or anything with
            ``__cuda_array_interface__`` or DLPack) is encoded there, on the caller's stream, and
            the codes are an array of the same kind: see ``docs/gpu.md``.
        policy : {'raise', 'drop'}
            Handling of rows with a NaN or an infinity. ``drop`` leaves them out; ``kept`` of the
            result of `waterfill.check` has the numbers of the others.

        Returns
        -------
        uint8 (n, code_size)
            One byte per group, the byte of the scale, and the number of the cell if there are
            cells: one byte, or two (little-endian) for more than 256 cells.

        Raises
        ------
        ValueError
            For another number of dimensions, or, with the row's number, for a NaN or an infinity.
        TypeError
            If `x` is not an array of real numbers.

        Warns
        -----
        RuntimeWarning
            If vectors are so much farther from the mean (or the centroid of their cell) than the
            rows that training drew, or so much nearer, that the scale byte clips their distance:
            never for those rows themselves. And if ``drop`` leaves rows out, with their numbers.
        """
        policy = as_policy(policy, WITHOUT_QUARANTINE)
        if is_device_array(x):
            codes: Codes = encode_on_device(self._core, x, policy)
            return codes
        return encode_rows(self._core, admit(Rows(x, "x", self.d), policy).rows)

    def decode(self, codes: Any, *, alpha: float = 0.0) -> FloatRows:
        """Decode codes to vectors.

        Parameters
        ----------
        codes : uint8 (n, code_size)
            Or a column of `waterfill.columns`.
        alpha : {0, 0.25, 0.5, 0.75, 1}
            Exponent of the scale. 0 minimises the expected squared error; 1 restores the distance
            from the mean, which ranks better on most data. An index uses its own exponent:
            `IndexFlat.reconstruct` returns the vectors that `search` scores.

        Returns
        -------
        float32 (n, d)
            The vectors.

        Raises
        ------
        ValueError, TypeError
            For another shape or dtype of `codes`, a column of another codec, or another `alpha`.
        """
        return self._core.decode(np.ascontiguousarray(read_codes(codes, self)), to_quarters(alpha))

    def to_bytes(self) -> bytes:
        """Return the codec in the file format of ``cpp/FORMAT.md``."""
        return self._core.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Codec:
        """Read the result of `to_bytes`.

        Parameters
        ----------
        data : bytes
            The serialised codec.

        Returns
        -------
        Codec
            An equal codec.

        Raises
        ------
        waterfill.FormatError
            If `data` is not a codec, or damaged.
        """
        return cls(_core.Codec.from_bytes(data))

    def __reduce__(self) -> tuple[Callable[[bytes], Codec], tuple[bytes]]:
        return Codec.from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{name}: alpha {self.alpha[m]:g}, coarse score of {self.coarse_groups[m]} groups, "
            f"refine factor {self.refine_factor[m]}"
            for m, name in (("ip", "inner product"), ("l2", "L2"))
        )
        return (
            f"Codec: {self.d} dimensions in codes of {self.code_size} bytes, in an index "
            f"{self.bytes_per_vector['ip']:.4g} bytes per vector; {settings}"
        )

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import codec_html

        return codec_html(self)


def _parsed(section: str, parse: Callable[[str], Parsed], text: str) -> Parsed:
    """Parse the text of a section; FormatError if it is not what the section must hold."""
    try:
        return parse(text)
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as e:
        raise _core.FormatError(f"damaged: section {section}: {e}") from None
