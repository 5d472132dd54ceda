"""Features that a monitor sums over blocks of rows, and the families they are tested in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.drift.permutation_test import Floats, Group

if TYPE_CHECKING:
    from waterfill.codec import Codec

LEADING_SHARE = 0.9  # of the variance; energy outside these directions reveals another model
_CONSTANT = 1e-3  # of the typical deviation: a feature below it counts as constant
_N_LENGTHS = 3  # norm, squared norm, squared distance from the mean
_N_ERRORS = 2  # relative and absolute squared error


class Features:
    """Layout of the feature sums of `_core.BlockSums` for one codec.

    Attributes
    ----------
    d, groups : int
        Dimensions of the vectors, and code bytes.
    directions : int64 (q,)
        Numbers of the eigen-directions that the codec keeps, in the order of their sums.
    basis : float32 (q, d)
        Eigenvectors of these directions.
    classes : tuple of str (q,)
        Relevance of each direction: ``high`` or ``medium``.
    z, z2, y2, lengths, errors : slice
        Positions of the sums: centred vectors, their squares, squared projections on the
        directions, lengths, and squared errors.
    """

    def __init__(self, codec: Codec) -> None:
        plan, arrays = codec.plan, codec._core.arrays
        repeated = {column for column, _ in arrays["rests"]}
        columns = [i for i in range(len(arrays["basis"])) if i not in repeated]
        dims = [dim for group in plan.groups for dim in group.dims]
        kinds = ["high" if g.kind == "vector" else "medium" for g in plan.groups for _ in g.dims]
        self.d, self.groups = codec.d, codec._core.groups
        self.mean: Floats = plan.mean
        self.directions = np.array([dims[i] for i in columns], np.int64)
        self.basis: Floats = arrays["basis"][columns]
        self.classes = tuple(kinds[i] for i in columns)
        self.variances = plan.variances
        leading = np.cumsum(plan.variances) <= LEADING_SHARE
        self.sums = _core.BlockSums(codec._core, leading[self.directions].astype(np.uint8))
        self.leading = float(leading.mean())  # share of the dimensions
        q = len(columns)
        self.z, self.z2 = slice(0, self.d), slice(self.d, 2 * self.d)
        self.y2 = slice(2 * self.d, 2 * self.d + q)
        self.lengths = slice(self.y2.stop, self.y2.stop + _N_LENGTHS)
        self.errors = slice(self.lengths.stop, self.lengths.stop + _N_ERRORS)
        self._bands = _octaves(self.directions)

    def __len__(self) -> int:
        return self.errors.stop

    def families(self, errors: bool) -> dict[str, Group]:
        """Return the families in the order of their features in `tested`.

        The family ``subspace`` also pools the shifts of means in each band of directions, because a
        new topic moves many directions a little.
        """
        q, bands = len(self.directions), int(self._bands.max()) + 1
        sizes = {
            "mean": q,
            "variance": q,
            "dimensions": 2 * self.d,
            "subspace": bands + 1,
            "norm": _N_LENGTHS,
        } | ({"quantization": _N_ERRORS} if errors else {})
        pools = [np.flatnonzero(self._bands == band) for band in range(bands)]
        pools.append(np.arange(q))
        ends = np.cumsum(list(sizes.values())).tolist()
        return {
            name: Group(slice(end - size, end), tuple(pools) if name == "subspace" else ())
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }

    def tested(self, sums: Floats, errors: bool) -> Floats:
        """Convert sums over blocks to the tested features, family by family."""
        y2 = sums[:, self.y2]
        bands = np.zeros((len(sums), int(self._bands.max()) + 2), np.float32)
        for band in range(int(self._bands.max()) + 1):
            bands[:, band] = y2[:, self._bands == band].sum(axis=1)
        bands[:, -1] = sums[:, self.lengths][:, 2] - y2.sum(axis=1)  # what the codec discards
        columns = [
            sums[:, self.z] @ self.basis.T,
            y2,
            sums[:, : 2 * self.d],
            bands,
            sums[:, self.lengths],
        ]
        if errors:
            columns.append(sums[:, self.errors])
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def floors(self, means: NDArray[np.float64], errors: bool) -> Floats:
        """Return lower bounds of the deviations by which features are standardised.

        They keep rounding from raising alarms, as of vectors normalized in another precision.

        Parameters
        ----------
        means : float64 (len(self),)
            Mean feature sums per row of the baseline.
        errors : bool
            Whether rows are encoded.

        Returns
        -------
        float32 (f,)
            In the order of `tested`.
        """
        lengths = means[self.lengths]
        deviation = np.sqrt(lengths[2] / self.d)
        q = len(self.directions)
        floors = [
            np.full(q, deviation),
            np.full(q, deviation**2),
            np.full(self.d, deviation),
            np.full(self.d, deviation**2),
            np.full(int(self._bands.max()) + 2, deviation**2),
            lengths,
        ]
        if errors:
            floors.append(means[self.errors])
        return (_CONSTANT * np.concatenate(floors)).astype(np.float32)


def _octaves(directions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the octave of each direction: 0 to 7, 8 to 15, 16 to 31, and so on."""
    bands = np.floor(np.log2(np.maximum(directions, 4) / 4)).astype(np.int64)
    return np.unique(bands, return_inverse=True)[1].reshape(-1)
