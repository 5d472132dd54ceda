"""Straightforward NumPy statements of what the C++ core computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf

Floats = NDArray[np.float64]


@dataclass
class Reference:
    """A codec's arrays in float64, and the documented formulas on them."""

    mean: Floats
    centroids: Floats
    basis: Floats
    weights: Floats
    books: Floats
    cells: Floats
    shapes: list[tuple[int, str]]
    settings: dict[str, Any]
    rests: list[tuple[int, int]]

    @classmethod
    def of(cls, codec: wf.Codec) -> Reference:
        arrays = codec._core.arrays
        parts = {k: v.astype(np.float64) for k, v in arrays.items() if k not in ("shapes", "rests")}
        return cls(
            shapes=arrays["shapes"], rests=arrays["rests"], settings=codec._core.settings, **parts
        )

    def slices(self) -> list[slice]:
        ends = np.cumsum([width for width, _ in self.shapes])
        return [slice(end - width, end) for end, (width, _) in zip(ends, self.shapes, strict=True)]

    @property
    def groups(self) -> int:
        return len(self.shapes)

    def numbers(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The cell of each code."""
        bytes_ = codes[:, self.groups + 1 :].astype(np.int64)
        return (bytes_ << (8 * np.arange(bytes_.shape[1]))).sum(axis=1)

    def origins(self, codes: NDArray[np.uint8]) -> Floats:
        """What each code is measured from, (n, d)."""
        points = self.centroids if len(self.centroids) else self.mean[None]
        return points[self.numbers(codes)]

    def directions(self, x: NDArray[Any], origins: Floats) -> tuple[Floats, Floats]:
        r = x.astype(np.float64) - origins
        rho = np.linalg.norm(r, axis=1)
        return (r / rho[:, None]) @ self.basis.T * self.weights, rho

    def errors(self, y: Floats) -> Floats:
        """Squared distance of each row to each centroid, (n, groups, 256)."""
        parts = [((y[:, s, None] - self.books[s][None]) ** 2).sum(axis=1) for s in self.slices()]
        return np.stack(parts, axis=1)

    def decoded(self, codes: NDArray[np.uint8]) -> Floats:
        """y_hat."""
        parts = [self.books[s][:, codes[:, g]].T for g, s in enumerate(self.slices())]
        return np.concatenate(parts, axis=1)

    def cell_length(self, codes: NDArray[np.uint8]) -> Floats:
        parts = [self.cells[s][:, codes[:, g] >> 4].T for g, s in enumerate(self.slices())]
        return np.linalg.norm(np.concatenate(parts, axis=1) / self.weights, axis=1)

    def rho(self, codes: NDArray[np.uint8]) -> Floats:
        low, step = self.settings["scale"]
        byte = codes[:, self.groups].astype(np.float64)
        z = np.where(byte == 0, 0, np.exp(low + (byte - 1) * step))
        return z * self.cell_length(codes) ** (self.settings["alpha_ip"] / 4)

    def scale(self, codes: NDArray[np.uint8], alpha: float) -> Floats:
        length = np.linalg.norm(self.decoded(codes) / self.weights, axis=1)
        return self.rho(codes) / np.maximum(length, 1e-6) ** alpha

    def decode(self, codes: NDArray[np.uint8], alpha: float) -> Floats:
        u = (self.decoded(codes) / self.weights) @ self.basis
        return self.origins(codes) + self.scale(codes, alpha)[:, None] * u

    def scores(self, queries: NDArray[Any], codes: NDArray[np.uint8], metric: str) -> Floats:
        """The documented full score of every query and vector."""
        alpha = self.settings["alpha_l2" if metric == "l2" else "alpha_ip"] / 4
        q = queries.astype(np.float64)
        s, u = self.scale(codes, alpha), (self.decoded(codes) / self.weights) @ self.basis
        origins = self.origins(codes)
        product = q @ origins.T + s * (q @ u.T)
        if metric != "l2":
            return product
        own = s * (origins * u).sum(axis=1)
        length = s * np.linalg.norm(self.decoded(codes) / self.weights, axis=1)
        squares = ((q[:, None] - origins[None]) ** 2).sum(axis=2) + length**2
        return np.maximum(0, squares - 2 * (s * (q @ u.T) - own))
