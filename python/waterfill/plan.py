"""What is decided before training: basis, classes, groups, bytes per vector."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.validation import as_int
from waterfill.analysis import Analysis

Kind = Literal["vector", "binary"]
Threshold = Literal["eigenvalue", "variance", "dimensions"]

_FORMAT = "waterfill-plan"
_VERSION = 1
_SIDE_BYTES = 1


@dataclass(frozen=True)
class Group:
    """Eigen-dimensions that share one code byte.

    Attributes
    ----------
    dims : tuple of int
        Numbers of eigen-dimensions, 0 being the one with the largest eigenvalue.
    kind : {'vector', 'binary'}
        ``vector``: 256 centroids over all of them (product quantization). ``binary``: one bit and
        two centroids for each of at most eight.

    A dimension of more than eight bits stands in two groups: alone in the first; the second codes
    what the first leaves of it.
    """

    dims: tuple[int, ...]
    kind: Kind = "vector"


@dataclass(frozen=True, repr=False, eq=False)
class Plan:
    """How vectors will be coded. Immutable; make one with `waterfill` or `classic`.

    Attributes
    ----------
    maker : str
        ``waterfill`` or ``classic``.
    mean : float32 (d,)
        Taken from every vector.
    basis : float32 (p, d)
        The leading eigenvectors, as rows; p dimensions are kept.
    variances : float64 (d,)
        Eigenvalues, shrunk where rows were few; they sum to 1.
    groups : tuple of Group
        One code byte each, in the order of the code.
    weighting : float
        Exponent a of ``weights = variances ** a``.
    constant_norm : float
        The norm of the vectors where it is the same for all, else 0.
    normalize : bool
        Whether vectors are divided by their norm before they are coded.
    pq_multiplier : float or None
        If not None, the published score of the classic plan: see `classic`.
    query_variances : float64 (d,) or None
        Second moments of queries along the basis, where queries were given; they sum to 1. Weights
        are powers of them then.
    """

    maker: str
    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    variances: NDArray[np.float64]
    groups: tuple[Group, ...]
    weighting: float
    constant_norm: float
    normalize: bool
    pq_multiplier: float | None = None
    query_variances: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check(self)
        for array in (self.mean, self.basis, self.variances, self.query_variances):
            if array is not None:
                array.setflags(write=False)

    @classmethod
    def waterfill(cls, analysis: Analysis, code_bytes: int = 48, weighting: float = 0.2) -> Plan:
        """Spend a number of bytes by reverse water-filling.

        Every eigen-dimension gets ``max(0, 1/2 log2(variance / theta))`` bits (Cover & Thomas,
        Elements of Information Theory, 10.3.3), and dimensions are gathered in groups of about
        eight bits, a product-quantized byte each.

        Parameters
        ----------
        analysis : Analysis
        code_bytes : int
            Bytes per vector, 1 to d; a byte for the scale comes on top.
        weighting : float
            Exponent a, 0 to 1: 0 minimises the reconstruction error, 1/2 the error of inner
            products with queries that are spread like the data; 0.15 to 0.25 measured best.

        Raises
        ------
        ValueError, TypeError
            For a value out of range or of the wrong type.
        """
        as_int("code_bytes", code_bytes)
        if not 1 <= code_bytes <= analysis.d:
            raise ValueError(
                f"code_bytes={code_bytes} must be from 1 to the number of dimensions, {analysis.d}"
            )
        variances = _core.shrink(analysis.eigenvalues, analysis.n)
        rates = _core.reverse_waterfill(variances, 8.0 * code_bytes)
        groups = _core.waterfill_groups(rates, code_bytes)
        return cls._from_groups("waterfill", analysis, variances, groups, weighting, None)

    @classmethod
    def classic(
        cls,
        analysis: Analysis,
        th_high: float,
        th_mid: float,
        *,
        by: Threshold = "eigenvalue",
        pq_multiplier: float | None = None,
    ) -> Plan:
        """Three classes by thresholds: a byte, a bit, or nothing per dimension.

        The scheme that JECQ (Janea Systems 2025) published, in the eigenbasis: dimensions of high
        relevance are product-quantized with 8 bits each, those of medium relevance get one bit
        after an ITQ rotation (Gong & Lazebnik 2011) of their class, the rest is discarded.

        Parameters
        ----------
        analysis : Analysis
        th_high, th_mid : float
            The borders of the classes, in the meaning of `by`.
        by : {'eigenvalue', 'variance', 'dimensions'}
            ``eigenvalue``: dimensions with an eigenvalue (times the data's variance, as the
            covariance has it) above `th_high` are high, above `th_mid` medium. ``variance``: the
            leading dimensions that hold the share `th_high` of the variance are high, those up to
            the share `th_mid` medium. ``dimensions``: likewise by their number.
        pq_multiplier : float, optional
            Use the published score: product-quantized part times this, plus one for each bit whose
            sign agrees with the query's and minus one for each other. By default bits are scored
            by the query's value against the bit's two centroids, which is more accurate and needs
            no multiplier. Inner product and cosine only.

        Raises
        ------
        ValueError
            For thresholds out of order or range, or that keep no dimension.
        """
        variances = _core.shrink(analysis.eigenvalues, analysis.n)
        groups = _core.classic_groups(
            analysis.eigenvalues, analysis.variance, float(th_high), float(th_mid), by
        )
        return cls._from_groups("classic", analysis, variances, groups, 0.0, pq_multiplier)

    @classmethod
    def _from_groups(
        cls,
        maker: str,
        analysis: Analysis,
        variances: NDArray[np.float64],
        groups: Iterable[tuple[str, list[int]]],
        weighting: float,
        pq_multiplier: float | None,
    ) -> Plan:
        made = tuple(Group(tuple(dims), _kind(kind)) for kind, dims in groups)
        kept = 1 + max(max(group.dims) for group in made)
        return cls(
            maker=maker,
            mean=analysis.mean.astype(np.float32),
            basis=np.ascontiguousarray(analysis.eigenvectors[:, :kept].T, dtype=np.float32),
            variances=variances,
            groups=made,
            weighting=float(weighting),
            constant_norm=_constant_norm(analysis),
            normalize=analysis.normalized,
            pq_multiplier=pq_multiplier,
        )

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return len(self.mean)

    @property
    def code_size(self) -> int:
        """Bytes per vector, the scale included."""
        return len(self.groups) + _SIDE_BYTES

    @property
    def weights(self) -> NDArray[np.float32]:
        """Factors of the kept dimensions, (p,); binary ones are not weighted."""
        spread = self.variances if self.query_variances is None else self.query_variances
        weights = spread[: len(self.basis)] ** self.weighting
        for group in self.groups:
            if group.kind == "binary":
                weights[list(group.dims)] = 1
        return weights.astype(np.float32)

    @property
    def classes(self) -> dict[str, int]:
        """Number of dimensions of high, medium and low relevance."""
        kinds = {dim: group.kind for group in self.groups for dim in group.dims}
        count = Counter({"high": 0, "medium": 0})
        count.update("high" if kind == "vector" else "medium" for kind in kinds.values())
        return {**count, "low": self.d - sum(count.values())}

    @property
    def predicted_distortion(self) -> float:
        """Expected squared error of decoded directions, as a share of their energy.

        For Gaussian dimensions, from the measured loss of 256-entry vector quantizers.
        """
        return self._distortion()[0]

    @property
    def shannon_bound(self) -> float:
        """Least distortion that any code of so many bits can have on a Gaussian source.

        Directions have a dimension less than vectors, and the scale byte holds the length: with few
        dimensions the codec can be a little better than this.
        """
        return self._distortion()[1]

    def _distortion(self) -> tuple[float, float]:
        return _core.predict_distortion(
            self.variances,
            self.weights.astype(np.float64),
            [(group.kind, list(group.dims)) for group in self.groups],
        )

    def to_json(self) -> str:
        """Everything as JSON text; arrays as base64 of little-endian numbers."""
        queries = self.query_variances
        return json.dumps(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "maker": self.maker,
                "weighting": self.weighting,
                "constant_norm": self.constant_norm,
                "normalize": self.normalize,
                "pq_multiplier": self.pq_multiplier,
                "groups": [{"kind": g.kind, "dims": list(g.dims)} for g in self.groups],
                "mean": _encode_array(self.mean),
                "basis": _encode_array(self.basis),
                "variances": _encode_array(self.variances),
                **({} if queries is None else {"query_variances": _encode_array(queries)}),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not such a plan.
        """
        try:
            data = json.loads(text)
            if data["format"] != _FORMAT or data["version"] != _VERSION:
                raise ValueError(f"format {data['format']!r}, version {data['version']!r}")
            multiplier = data["pq_multiplier"]
            return cls(
                maker=str(data["maker"]),
                mean=_decode_array(data["mean"], np.float32),
                basis=_decode_array(data["basis"], np.float32),
                variances=_decode_array(data["variances"], np.float64),
                groups=tuple(
                    Group(tuple(int(i) for i in g["dims"]), _kind(g["kind"]))
                    for g in data["groups"]
                ),
                weighting=float(data["weighting"]),
                constant_norm=float(data["constant_norm"]),
                normalize=_flag("normalize", data["normalize"]),
                pq_multiplier=None if multiplier is None else float(multiplier),
                query_variances=_decode_array(data["query_variances"], np.float64)
                if "query_variances" in data
                else None,
            )
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"text is not the JSON of a waterfill plan: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        classes = self.classes
        bits = {"high": 8 * sum(g.kind == "vector" for g in self.groups)}
        bits["medium"] = classes["medium"]
        what = {"high": "product-quantized", "medium": "one bit each", "low": "discarded"}
        energy = _class_energy(self)
        lines = [
            f"Plan ({self.maker}): {self.d} dimensions in {self.code_size} bytes "
            f"({len(self.groups)} + {_SIDE_BYTES} for the scale), "
            f"{4 * self.d / self.code_size:.1f} times smaller than float32",
            f"  {'class':<8}{'dimensions':>11}{'bits':>7}{'bits each':>11}{'variance':>10}",
        ]
        for name, count in classes.items():
            total = bits.get(name, 0)
            each = f"{total / count:.2f}" if count else "-"
            lines.append(
                f"  {name:<8}{count:>11}{total:>7}{each:>11}{energy[name]:>10.1%}  {what[name]}"
            )
        lines.append(
            f"  expected distortion {self.predicted_distortion:.1%} "
            f"(Shannon bound {self.shannon_bound:.1%}), weighting {self.weighting:g}"
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from waterfill.reporting.notebook import plan_html

        return plan_html(self)


def _class_energy(plan: Plan) -> dict[str, float]:
    share = {"high": 0.0, "medium": 0.0}
    for kind, dim in {(group.kind, dim) for group in plan.groups for dim in group.dims}:
        share["high" if kind == "vector" else "medium"] += float(plan.variances[dim])
    total = float(plan.variances.sum())
    share = {name: value / total for name, value in share.items()}
    return {**share, "low": max(0.0, 1 - sum(share.values()))}


def _constant_norm(analysis: Analysis) -> float:
    if analysis.normalized:
        return 1.0
    return analysis.norms.mean if analysis.norms.constant else 0.0


def _kind(kind: str) -> Kind:
    if kind == "vector":
        return "vector"
    if kind == "binary":
        return "binary"
    raise ValueError(f"kind of group {kind!r} must be 'vector' or 'binary'")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be true or false")
    return value


def _check(plan: Plan) -> None:
    p, d = plan.basis.shape if plan.basis.ndim == 2 else (0, 0)
    if d != len(plan.mean) or d != len(plan.variances) or not 1 <= p <= d:
        raise ValueError("mean, basis and variances must have shapes (d,), (p, d) and (d,)")
    _check_groups(plan.groups, p)
    if any(g.kind == "binary" and len(g.dims) > 8 for g in plan.groups):
        raise ValueError("groups: a binary group has at most 8 dimensions")
    finite = all(np.isfinite(array).all() for array in (plan.mean, plan.basis, plan.variances))
    if not finite or not (plan.variances > 0).all():
        raise ValueError("mean, basis and variances must be finite, variances positive")
    queries = plan.query_variances
    if queries is not None and not (
        queries.shape == plan.variances.shape and np.isfinite(queries).all() and (queries > 0).all()
    ):
        raise ValueError("query_variances must be as many as variances, finite and positive")
    if not 0 <= plan.weighting <= 1:
        raise ValueError(f"weighting={plan.weighting!r} must be from 0 to 1")
    if not 0 <= plan.constant_norm < float("inf"):
        raise ValueError(f"constant_norm={plan.constant_norm!r} must be finite and not negative")
    if plan.pq_multiplier is not None and not 0 < plan.pq_multiplier < float("inf"):
        raise ValueError(f"pq_multiplier={plan.pq_multiplier!r} must be positive and finite")


def _check_groups(groups: tuple[Group, ...], p: int) -> None:
    alone: set[int] = set()
    used: set[int] = set()
    for group in groups:
        again = used.intersection(group.dims)
        if again - alone or len(set(group.dims)) < len(group.dims):
            raise ValueError(
                f"groups must use each of the {p} kept dimensions exactly once, or once in a group "
                f"of its own and once later; dimension {min(again or group.dims)} is not"
            )
        alone -= again
        used.update(group.dims)
        if len(group.dims) == 1 and group.kind == "vector" and not again:
            alone.add(group.dims[0])
    if used != set(range(p)):
        raise ValueError(f"groups must use each of the {p} kept dimensions exactly once")


def _encode_array(array: NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = base64.b64encode(little.tobytes()).decode("ascii")
    return {"dtype": little.dtype.str, "shape": list(array.shape), "base64": data}


def _decode_array(data: dict[str, Any], dtype: type[np.generic]) -> NDArray[Any]:
    if data["dtype"] != np.dtype(dtype).newbyteorder("<").str:
        raise ValueError(f"dtype {data['dtype']!r}, expected {np.dtype(dtype).str!r}")
    flat = np.frombuffer(base64.b64decode(data["base64"], validate=True), dtype=data["dtype"])
    return flat.reshape([int(n) for n in data["shape"]]).astype(dtype)
