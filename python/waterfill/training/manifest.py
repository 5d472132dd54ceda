"""Manifests: the record of a codec's training, from which `reproduce` trains it again."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill import _core
from waterfill._util.stored_values import parse_object, reading, require_types
from waterfill._util.version import installed_version

if TYPE_CHECKING:
    from waterfill.data.rows import FloatRows
    from waterfill.plan import Plan


@dataclass
class _PlanFields:
    maker: str
    code_bytes: int
    weighting: float
    high: int | None
    kept: int | None
    pq_multiplier: float | None
    normalize: bool


@dataclass
class _TrainingFields:
    seed: int
    cells: int | str | None
    metric: str | None
    effort: str | None
    alpha: float | str | None


CODED_ROWS = 4096
"""Number of training rows whose codes a manifest has the hash of."""


@dataclass(frozen=True)
class Manifest:
    """The record of a codec's training. Codecs carry it, in files and pickles, too.

    Attributes
    ----------
    version : str
        Version of waterfill.
    numpy : str
        Version of NumPy, whose LAPACK computes the eigenvectors.
    isa : str
        Instruction set of the kernels that trained it; codes do not depend on it.
    created : str
        Time of training, UTC; from the environment variable SOURCE_DATE_EPOCH (seconds) if set.
    rows, d : int
        Shape of the vectors passed to `Codec.train`.
    dtype : str
        Their dtype before conversion to float32.
    trained_rows : int
        Number of rows drawn from them, held-out rows included.
    data_sha256 : str
        Hash of the drawn rows, as float32.
    queries_sha256 : str or None
        Hash of the drawn queries, if there were any.
    plan : dict
        ``maker``, ``code_bytes``, ``weighting``, ``high`` and ``kept`` dimensions (of a classic
        plan), ``pq_multiplier``, ``normalize``.
    training : dict
        Arguments of `Codec.train`: ``seed``, ``cells`` (None for an array of centroids),
        ``metric``, ``effort`` and ``alpha``.
    codes_sha256 : str
        Hash of the codes of the first 4,096 training rows.
    measured : dict
        Measurements of the optimizer by name; empty without one.
    objective : str or None
        Objective of the optimizer.
    draw : dict or None
        Split of the optimizer: the fields of `waterfill.evaluation.sample_split.Draw`.
    parent : str or None
        Fingerprint of the codec that this one replaces.
    """

    version: str
    numpy: str
    isa: str
    created: str
    rows: int
    d: int
    dtype: str
    trained_rows: int
    data_sha256: str
    queries_sha256: str | None
    plan: dict[str, Any]
    training: dict[str, Any]
    codes_sha256: str
    measured: dict[str, Any] = field(default_factory=dict)
    objective: str | None = None
    draw: dict[str, int] | None = None
    parent: str | None = None

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(asdict(self), indent=2, default=_as_number)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read the result of `to_json`; unknown fields of later versions are ignored.

        Parameters
        ----------
        text : str
            The JSON of a manifest.

        Returns
        -------
        Manifest
            An equal manifest.

        Raises
        ------
        ValueError
            If `text` is not the JSON of a manifest.
        """
        with reading("text is not the JSON of a manifest", ValueError):
            data = parse_object(text)
            names = {f.name for f in fields(cls)}
            known = {name: value for name, value in data.items() if name in names}
            require_types(cls, known)
            for part, kind in (("plan", _PlanFields), ("training", _TrainingFields)):
                required = [f.name for f in fields(kind)]
                missing = [name for name in required if name not in known.get(part, ())]
                if missing:
                    raise ValueError(f"{part} lacks {', '.join(missing)}")
                known[part] = {name: known[part][name] for name in required}
                require_types(kind, known[part])
            return cls(**known)

    def words(self) -> dict[str, str]:
        """Return the lines of a human-readable description, by heading."""
        plan = self.plan
        words = {
            "made": f"{self.created}, waterfill {self.version}, NumPy {self.numpy}, {self.isa}",
            "data": f"{self.rows:,} x {self.d} {self.dtype}, {self.trained_rows:,} rows drawn, "
            f"sha256 {self.data_sha256[:16]}",
            "plan": f"{plan['maker']}, {plan['code_bytes']} bytes, "
            f"weighting {plan['weighting']:g}" + (", normalised" if plan["normalize"] else ""),
            "training": ", ".join(
                f"{name} {value}" for name, value in self.training.items() if value is not None
            ),
        }
        if self.objective:
            words["objective"] = self.objective
        if self.measured:
            words["measured"] = ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in self.measured.items()
            )
        return words

    def __str__(self) -> str:
        return "\n".join(f"{name:<10}{line}" for name, line in self.words().items())

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import manifest_html

        return manifest_html(self)


def _as_number(value: Any) -> Any:
    """Convert a NumPy scalar for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be stored in a manifest")


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC; SOURCE_DATE_EPOCH overrides the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        seconds = time.time() if epoch is None else float(epoch)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"SOURCE_DATE_EPOCH={epoch!r} must be seconds since 1970") from None


def digest(*arrays: Any) -> str:
    """Return the SHA-256 of the concatenated bytes of arrays."""
    import hashlib  # slow to import: it loads OpenSSL

    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return the parameters that make the same plan from an analysis."""
    classes, classic = plan.classes, plan.maker == "classic"
    return {
        "maker": plan.maker,
        "code_bytes": len(plan.groups),
        "weighting": plan.weighting,
        "high": classes["high"] if classic else None,
        "kept": classes["high"] + classes["medium"] if classic else None,
        "pq_multiplier": plan.pq_multiplier,
        "normalize": plan.normalize,
    }


def new_manifest(
    *,
    shape: tuple[int, int],
    dtype: str,
    drawn: tuple[FloatRows, FloatRows],
    queries: FloatRows | None,
    plan: Plan,
    training: dict[str, Any],
    codes: Any,
) -> Manifest:
    """Make the manifest of a codec that has just been trained."""
    return Manifest(
        version=installed_version(),
        numpy=np.__version__,
        isa=_core.isa(),
        created=utc_now(),
        rows=shape[0],
        d=shape[1],
        dtype=dtype,
        trained_rows=len(drawn[0]) + len(drawn[1]),
        data_sha256=digest(*drawn),
        queries_sha256=None if queries is None else digest(queries),
        plan=describe_plan(plan),
        training=training,
        codes_sha256=digest(codes),
    )
