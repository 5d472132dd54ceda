"""What a codec was made of and how, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill import _core
from waterfill._util.version import installed_version

if TYPE_CHECKING:
    from waterfill.data.rows import FloatRows
    from waterfill.plan import Plan

_PLAN = ("maker", "code_bytes", "weighting", "high", "kept", "pq_multiplier", "normalize")
_TRAINING = ("seed", "cells", "metric", "effort", "alpha")

CODED_ROWS = 4096
"""Of the rows that were drawn, those whose codes a manifest has the hash of."""


@dataclass(frozen=True)
class Manifest:
    """The record that a codec carries, in files and pickles too.

    Attributes
    ----------
    version : str
        Of waterfill.
    numpy : str
        Version of NumPy, whose LAPACK finds the eigenvectors.
    isa : str
        Instruction set of the machine that trained; codes do not depend on it.
    created : str
        Time of training, UTC. The environment variable SOURCE_DATE_EPOCH (seconds) stands for the
        clock where it is set.
    rows, d : int
        Vectors that were given to train on.
    dtype : str
        Their dtype, as they came.
    trained_rows : int
        Of these, the ones that were drawn.
    data_sha256 : str
        Of the rows that were drawn, as float32.
    queries_sha256 : str or None
        Likewise of queries, where some were given.
    plan : dict
        ``maker``, ``code_bytes``, ``weighting``, ``high`` and ``kept`` dimensions (of a classic
        plan), ``pq_multiplier``, ``normalize``.
    training : dict
        ``seed``, ``cells`` ('auto', a number, or None for centroids that were given), ``metric``,
        ``effort`` and ``alpha``, as `Codec.train` takes them.
    codes_sha256 : str
        Of the codes of the first 4,096 rows that were drawn.
    measured : dict
        What was measured of the codec, by name. Empty unless an optimizer chose it.
    objective : str or None
        What the optimizer was asked for.
    draw : dict or None
        How the optimizer drew the rows to train on: see `waterfill.evaluation.split.Draw`.
    parent : str or None
        The fingerprint of the codec that this one replaces.
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
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=2, default=_as_number)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote; what later versions add is left out.

        Raises
        ------
        ValueError
            If `text` is something else.
        """
        try:
            data = json.loads(text)
            names = {f.name for f in fields(cls)}
            known = {name: value for name, value in data.items() if name in names}
            for part, wanted in (("plan", _PLAN), ("training", _TRAINING)):
                missing = [name for name in wanted if name not in known.get(part, ())]
                if missing:
                    raise ValueError(f"its {part} lacks {', '.join(missing)}")
                known[part] = {name: known[part][name] for name in wanted}
            return cls(**known)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"text is no manifest of a codec: {error}") from None

    def words(self) -> dict[str, str]:
        """Return it for people, line by line."""
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


def _as_number(value: Any) -> Any:
    """Turn NumPy's numbers into Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot stand in a manifest")


def utc_now() -> str:
    """Return the time, UTC, as records have it."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        seconds = time.time() if given is None else float(given)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"SOURCE_DATE_EPOCH={given!r} must be seconds since 1970") from None


def digest(*arrays: Any) -> str:
    """Return the SHA-256 of the bytes of arrays, one after the other."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return what makes a plan anew from an analysis."""
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
    """Write down what has just been trained."""
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
