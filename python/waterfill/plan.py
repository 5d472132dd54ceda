"""Plans: the basis, the groups of dimensions and the bytes of a code, chosen before training."""

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
from waterfill._util.stored_values import as_count, as_real, parse_object, reading
from waterfill._util.validation import as_int
from waterfill.analysis import Analysis

Kind = Literal["vector", "binary"]
Threshold = Literal["eigenvalue", "variance", "dimensions"]

__all__ = ["Group"]

_FORMAT = "waterfill-plan"
_VERSION = 1
_SCALE_BYTES = 1
_NORM_TOLERANCE = 0.02  # of rows of the basis, as in the core


@dataclass(frozen=True)
class Group:
    """Eigen-dimensions that share one code byte.

    Attributes
    ----------
    dims : tuple of int
        Numbers of eigen-dimensions; 0 has the largest eigenvalue.
    kind : {'vector', 'binary'}
        ``vector``: 256 centroids over all dimensions (product quantization [1]_). ``binary``: one
        bit and two centroids for each of at most eight dimensions.

    Notes
    -----
    A dimension of more than eight bits is in two groups: alone in the first; the second quantizes
    the residual of the first.

    References
    ----------
    .. [1] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
    """

    dims: tuple[int, ...]
    kind: Kind = "vector"


@dataclass(frozen=True, repr=False, eq=False)
class Plan:
    """Immutable specification of a code; made by `waterfill` or `classic`.

    Attributes
    ----------
    maker : str
        ``waterfill`` or ``classic``.
    mean : float32 (d,)
        Subtracted from every vector.
    basis : float32 (p, d)
        The p leading eigenvectors, as rows.
    variances : float64 (d,)
        Eigenvalues, shrunk if rows were few (oracle approximating shrinkage [1]_); they sum to 1.
    groups : tuple of Group
        One per code byte, in the order of the code.
    weighting : float
        Exponent a of ``weights = variances ** a``.
    constant_norm : float
        The norm of the vectors if it is the same for all, else 0.
    normalize : bool
        Whether vectors are divided by their norms before they are encoded.
    pq_multiplier : float or None
        Parameter of the published score of classic plans; None for the default score. See
        `classic`.
    query_variances : float64 (d,) or None
        Second moments of training queries along the basis, which sum to 1. If not None, they
        replace `variances` in `weights`.

    References
    ----------
    .. [1] Y. Chen, A. Wiesel, Y. C. Eldar and A. O. Hero, "Shrinkage algorithms for MMSE covariance
       estimation", IEEE Transactions on Signal Processing 58(10), 2010.
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
        """Allocate a number of bytes by reverse water-filling.

        Every eigen-dimension gets ``max(0, 1/2 log2(variance / theta))`` bits [1]_. Dimensions are
        grouped into groups of about eight bits, one product-quantized byte each [2]_.

        Parameters
        ----------
        analysis : Analysis
            The result of `analyze`.
        code_bytes : int
            Bytes per vector, 1 to d, without the byte for the scale.
        weighting : float
            Exponent a, 0 to 1. 0 minimises the reconstruction error; 1/2 minimises the error of
            inner products with queries that are distributed like the data. Recall is best at 0.15
            to 0.25.

        Returns
        -------
        Plan
            A plan of `code_bytes` groups.

        Raises
        ------
        ValueError, TypeError
            For a value out of range or of the wrong type.

        References
        ----------
        .. [1] T. M. Cover and J. A. Thomas, Elements of Information Theory, 2nd edition, Wiley,
           2006, section 10.3.3.
        .. [2] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
           IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
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
        """Divide dimensions into three classes by thresholds: 8 bits, 1 bit, or discarded.

        The scheme of JECQ [1]_ in the eigenbasis: dimensions of high relevance are quantized to 8
        bits each [2]_, those of medium relevance to one bit after an ITQ rotation [3]_ of their
        class, and the others are discarded.

        Parameters
        ----------
        analysis : Analysis
            The result of `analyze`.
        th_high, th_mid : float
            Thresholds of the classes; `by` defines their meaning.
        by : {'eigenvalue', 'variance', 'dimensions'}
            ``eigenvalue``: dimensions with an eigenvalue above `th_high` (in the scale of the
            covariance: ``eigenvalues * variance``) are high, above `th_mid` medium. ``variance``:
            the leading dimensions that hold the share `th_high` of the variance are high, those up
            to the share `th_mid` medium. ``dimensions``: the same by share of the dimensions.
        pq_multiplier : float, optional
            Use the published score: the product-quantized part times `pq_multiplier`, plus one for
            each bit that has the sign of the query's value, minus one for each other bit. Inner
            product and cosine only. By default the two centroids of each bit are scored, which is
            more accurate.

        Returns
        -------
        Plan
            A plan of as many bytes as the thresholds ask for.

        Raises
        ------
        ValueError
            If the thresholds are out of order or range, or keep no dimension.

        References
        ----------
        .. [1] Janea Systems, Jecq: just enough compression and quantization,
           https://github.com/JaneaSystems/jecq, 2025.
        .. [2] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
           IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
        .. [3] Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning
           binary codes", CVPR, 2011.
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
        plan_groups = tuple(Group(tuple(dims), _kind(kind)) for kind, dims in groups)
        kept = 1 + max(max(group.dims) for group in plan_groups)
        return cls(
            maker=maker,
            mean=analysis.mean.astype(np.float32),
            basis=np.ascontiguousarray(analysis.eigenvectors[:, :kept].T, dtype=np.float32),
            variances=variances,
            groups=plan_groups,
            weighting=float(weighting),
            constant_norm=_constant_norm(analysis),
            normalize=analysis.normalized,
            pq_multiplier=pq_multiplier,
        )

    @property
    def d(self) -> int:
        """Number of dimensions of the vectors."""
        return len(self.mean)

    @property
    def code_size(self) -> int:
        """Bytes per vector, including the scale."""
        return len(self.groups) + _SCALE_BYTES

    @property
    def weights(self) -> NDArray[np.float32]:
        """Weights of the p coded dimensions, float32 (p,); 1 for binary ones."""
        variances = self.variances if self.query_variances is None else self.query_variances
        weights = variances[: len(self.basis)] ** self.weighting
        for group in self.groups:
            if group.kind == "binary":
                weights[list(group.dims)] = 1
        return weights.astype(np.float32)

    @property
    def classes(self) -> dict[str, int]:
        """Number of dimensions of high, medium and low relevance."""
        kinds = {dim: group.kind for group in self.groups for dim in group.dims}
        counts = Counter({"high": 0, "medium": 0})
        counts.update("high" if kind == "vector" else "medium" for kind in kinds.values())
        return {**counts, "low": self.d - sum(counts.values())}

    @property
    def predicted_distortion(self) -> float:
        """Expected squared error of decoded directions, relative to their energy.

        For Gaussian dimensions, from the measured distortion of vector quantizers of 256 entries.
        """
        return self._distortion()[0]

    @property
    def shannon_bound(self) -> float:
        """Lower bound of the distortion of any code of as many bits, on a Gaussian source.

        It is the Shannon bound [1]_, by reverse water-filling [2]_.

        Directions have one degree of freedom less than vectors, and the scale byte stores the
        length: with few dimensions a codec can be slightly below the bound.

        References
        ----------
        .. [1] C. E. Shannon, "Coding theorems for a discrete source with a fidelity criterion", IRE
           National Convention Record, 1959.
        .. [2] T. M. Cover and J. A. Thomas, Elements of Information Theory, 2nd edition, Wiley,
           2006, section 10.3.3.
        """
        return self._distortion()[1]

    def _distortion(self) -> tuple[float, float]:
        return _core.predict_distortion(
            self.variances,
            self.weights.astype(np.float64),
            [(group.kind, list(group.dims)) for group in self.groups],
        )

    def to_json(self) -> str:
        """Return the plan as JSON text; arrays are base64 of little-endian numbers."""
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
        """Read the result of `to_json`.

        Parameters
        ----------
        text : str
            The JSON of a plan.

        Returns
        -------
        Plan
            An equal plan.

        Raises
        ------
        ValueError
            If `text` is not the JSON of a plan.
        """
        with reading("text is not the JSON of a waterfill plan", ValueError):
            data = parse_object(text)
            if data["format"] != _FORMAT or data["version"] != _VERSION:
                raise ValueError(
                    f"expected format {_FORMAT!r}, version {_VERSION}; "
                    f"got {data['format']!r}, {data['version']!r}"
                )
            multiplier = data["pq_multiplier"]
            return cls(
                maker=_text("maker", data["maker"]),
                mean=_decode_array(data["mean"], np.float32),
                basis=_decode_array(data["basis"], np.float32),
                variances=_decode_array(data["variances"], np.float64),
                groups=tuple(
                    Group(tuple(as_count("dims", i) for i in g["dims"]), _kind(g["kind"]))
                    for g in data["groups"]
                ),
                weighting=as_real("weighting", data["weighting"]),
                constant_norm=as_real("constant_norm", data["constant_norm"]),
                normalize=_flag("normalize", data["normalize"]),
                pq_multiplier=None if multiplier is None else as_real("pq_multiplier", multiplier),
                query_variances=_decode_array(data["query_variances"], np.float64)
                if "query_variances" in data
                else None,
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        classes = self.classes
        bits = {"high": 8 * sum(g.kind == "vector" for g in self.groups)}
        bits["medium"] = classes["medium"]
        coding = {"high": "product-quantized", "medium": "one bit each", "low": "discarded"}
        energy = _class_energy(self)
        lines = [
            f"Plan ({self.maker}): {self.d} dimensions in codes of {self.code_size} bytes "
            f"({len(self.groups)} + {_SCALE_BYTES} for the scale), "
            f"{4 * self.d / self.code_size:.1f} times smaller than float32",
            f"  {'class':<8}{'dimensions':>11}{'bits':>7}{'bits each':>11}{'variance':>10}",
        ]
        for name, count in classes.items():
            total = bits.get(name, 0)
            each = f"{total / count:.2f}" if count else "-"
            lines.append(
                f"  {name:<8}{count:>11}{total:>7}{each:>11}{energy[name]:>10.1%}  {coding[name]}"
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
    """Return the share of the variance in each class."""
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
    raise ValueError(f"groups: kind={kind!r} must be 'vector' or 'binary'")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be a bool")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}={value!r} must be a str")
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
    norms = np.linalg.norm(plan.basis.astype(np.float64), axis=1)
    if np.abs(norms - 1).max() > _NORM_TOLERANCE:
        raise ValueError(f"basis must have rows of norm 1, got norms up to {norms.max():g}")
    queries = plan.query_variances
    if queries is not None and not (
        queries.shape == plan.variances.shape and np.isfinite(queries).all() and (queries > 0).all()
    ):
        raise ValueError("query_variances must have shape (d,) and be finite and positive")
    if not 0 <= plan.weighting <= 1:
        raise ValueError(f"weighting={plan.weighting!r} must be from 0 to 1")
    if not 0 <= plan.constant_norm < float("inf"):
        raise ValueError(f"constant_norm={plan.constant_norm!r} must be finite and not negative")
    if plan.pq_multiplier is not None and not 0 < plan.pq_multiplier < float("inf"):
        raise ValueError(f"pq_multiplier={plan.pq_multiplier!r} must be positive and finite")


def _check_groups(groups: tuple[Group, ...], p: int) -> None:
    single: set[int] = set()  # dimensions that had a group of their own, and may return once
    used: set[int] = set()
    for group in groups:
        repeated = used.intersection(group.dims)
        if repeated - single or len(set(group.dims)) < len(group.dims):
            raise ValueError(
                f"groups must use each of the {p} kept dimensions exactly once, or once in a group "
                f"of its own and once later; dimension {min(repeated or group.dims)} is not"
            )
        single -= repeated
        used.update(group.dims)
        if len(group.dims) == 1 and group.kind == "vector" and not repeated:
            single.add(group.dims[0])
    if used != set(range(p)):
        raise ValueError(f"groups must use each of the {p} kept dimensions exactly once")


def _encode_array(array: NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = base64.b64encode(little.tobytes()).decode("ascii")
    return {"dtype": little.dtype.str, "shape": list(array.shape), "base64": data}


def _decode_array(data: dict[str, Any], dtype: type[np.generic]) -> NDArray[Any]:
    if data["dtype"] != np.dtype(dtype).newbyteorder("<").str:
        raise ValueError(f"expected dtype {np.dtype(dtype).str!r}, got {data['dtype']!r}")
    flat = np.frombuffer(base64.b64decode(data["base64"], validate=True), dtype=data["dtype"])
    return flat.reshape([as_count("shape", n) for n in data["shape"]]).astype(dtype)
