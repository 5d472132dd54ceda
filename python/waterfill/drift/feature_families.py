"""Features that a monitor sums over blocks of rows, and the families they are tested in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.drift.permutation_test import Floats, Group

if TYPE_CHECKING:
    from waterfill.codec import Codec

LEADING_SHARE = 0.9  # of the variance: what is left of a row's energy tells models apart
_CONSTANT = 1e-3  # of the usual deviation: below it a feature is not told from a constant
_LENGTHS = 3  # norm, its square, squared distance from the mean
_ERRORS = 2  # relative and absolute squared error


class Features:
    """Positions of the sums in a row of `_core.BlockSums`, for one codec.

    Attributes
    ----------
    d, groups : int
        Dimensions of the vectors, and code bytes.
    directions : int64 (q,)
        Numbers of the eigen-dimensions that the codec keeps, in the order of their sums.
    basis : float32 (q, d)
        Theirs.
    classes : tuple of str (q,)
        Relevance of each: ``high`` or ``medium``.
    """

    def __init__(self, codec: Codec) -> None:
        plan, arrays = codec.plan, codec._core.arrays
        again = {column for column, _ in arrays["rests"]}
        columns = [i for i in range(len(arrays["basis"])) if i not in again]
        numbers = [dim for group in plan.groups for dim in group.dims]
        kinds = ["high" if g.kind == "vector" else "medium" for g in plan.groups for _ in g.dims]
        self.d, self.groups = codec.d, codec._core.groups
        self.mean: Floats = plan.mean
        self.directions = np.array([numbers[i] for i in columns], np.int64)
        self.basis: Floats = arrays["basis"][columns]
        self.classes = tuple(kinds[i] for i in columns)
        self.variances = plan.variances
        leading = np.cumsum(plan.variances) <= LEADING_SHARE
        self.sums = _core.BlockSums(codec._core, leading[self.directions].astype(np.uint8))
        self.leading = float(leading.mean())  # share of the dimensions
        q = len(columns)
        self.z, self.z2 = slice(0, self.d), slice(self.d, 2 * self.d)
        self.y2 = slice(2 * self.d, 2 * self.d + q)
        self.lengths = slice(self.y2.stop, self.y2.stop + _LENGTHS)
        self.errors = slice(self.lengths.stop, self.lengths.stop + _ERRORS)
        self._bands = _octaves(self.directions)

    def __len__(self) -> int:
        return self.errors.stop

    def families(self, errors: bool) -> dict[str, Group]:
        """Return the families in the order of their features in `judged`.

        With the energy in bands of directions, the shift of their means is judged band by band: a
        new topic moves many directions a little.
        """
        q, bands = len(self.directions), int(self._bands.max()) + 1
        sizes = {
            "mean": q,
            "variance": q,
            "dimensions": 2 * self.d,
            "subspace": bands + 1,
            "norm": _LENGTHS,
        } | ({"quantization": _ERRORS} if errors else {})
        pools = [np.flatnonzero(self._bands == band) for band in range(bands)]
        pools.append(np.arange(q))
        ends = np.cumsum(list(sizes.values())).tolist()
        return {
            name: Group(slice(end - size, end), tuple(pools) if name == "subspace" else ())
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }

    def judged(self, sums: Floats, errors: bool) -> Floats:
        """Convert sums over blocks to the tested features, family by family."""
        y2 = sums[:, self.y2]
        bands = np.zeros((len(sums), int(self._bands.max()) + 2), np.float32)
        for band in range(int(self._bands.max()) + 1):
            bands[:, band] = y2[:, self._bands == band].sum(axis=1)
        bands[:, -1] = sums[:, self.lengths][:, 2] - y2.sum(axis=1)  # what the codec discards
        parts = [
            sums[:, self.z] @ self.basis.T,
            y2,
            sums[:, : 2 * self.d],
            bands,
            sums[:, self.lengths],
        ]
        if errors:
            parts.append(sums[:, self.errors])
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def floors(self, means: NDArray[np.float64], errors: bool) -> Floats:
        """Return the smallest deviation that features are divided by.

        Vectors that were divided by their norm in another precision must not pass for drift.

        Parameters
        ----------
        means : float64 (len(self),)
            Of the sums, a row of the baseline.
        """
        lengths = means[self.lengths]
        usual = np.sqrt(lengths[2] / self.d)
        q = len(self.directions)
        parts = [
            np.full(q, usual),
            np.full(q, usual**2),
            np.full(self.d, usual),
            np.full(self.d, usual**2),
            np.full(int(self._bands.max()) + 2, usual**2),
            lengths,
        ]
        if errors:
            parts.append(means[self.errors])
        return (_CONSTANT * np.concatenate(parts)).astype(np.float32)


def _octaves(directions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the octave of each direction: 0 to 7, 8 to 15, 16 to 31, and so on."""
    bands = np.floor(np.log2(np.maximum(directions, 4) / 4)).astype(np.int64)
    return np.unique(bands, return_inverse=True)[1].reshape(-1)
