"""`reproduce`: train a codec again from its manifest, and compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from waterfill.analysis import Analysis, analyze
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.evaluation.sample_split import Draw
from waterfill.plan import Plan
from waterfill.training.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Reproduction:
    """The result of training a codec again.

    Attributes
    ----------
    identical : bool
        Whether both codecs encode the training rows identically.
    differences : tuple of str
        Differences from the manifest in words, including versions, which may be harmless.
    codec : Codec
        The new codec.
    """

    identical: bool
    differences: tuple[str, ...]
    codec: Codec


def reproduce(manifest: Manifest | Codec, x: Any, queries: Any = None) -> Reproduction:
    """Train a codec again as its manifest says, and compare the two.

    Parameters
    ----------
    manifest : Manifest or Codec
        The manifest, or a codec that has one.
    x : array_like, shape (n, d)
        The same vectors that `Codec.train`, or `optimize`, was called with.
    queries : array_like, shape (m, d), optional
        The same queries, if there were any.

    Returns
    -------
    Reproduction
        The new codec, and whether it is the same.

    Raises
    ------
    ValueError
        If `x` or `queries` does not have the shape in the manifest, or the codec was trained with
        given centroids, which the manifest does not contain.
    TypeError
        If an argument has the wrong type.
    """
    if isinstance(manifest, Codec):
        if manifest.manifest is None:
            raise ValueError("manifest: the codec has none; its file has a format before 1.3")
        manifest = manifest.manifest
    if not isinstance(manifest, Manifest):
        raise TypeError(f"manifest must be a waterfill.Manifest, got {type(manifest).__name__}")
    rows = Rows(x, "x", manifest.d)
    query_rows = None if queries is None else Rows(queries, "queries", manifest.d)
    if manifest.training["cells"] is None:
        raise ValueError(
            "manifest: the codec was trained with given centroids, which are not in its manifest"
        )
    draw = _draw(manifest)
    had_queries = manifest.queries_sha256 is not None if draw is None else draw.queries > 0
    if had_queries != (query_rows is not None):
        raise ValueError(
            "queries: the codec was trained with queries; pass the same ones"
            if had_queries
            else "queries: the codec was trained without queries; leave them out"
        )
    if draw is None:
        _require_rows(rows, manifest.rows)
        codec = _train(manifest, x, queries)
    else:
        _require_rows(rows, draw.rows)
        if query_rows is not None and query_rows.n != draw.queries:
            raise ValueError(f"queries has {query_rows.n} rows, expected {draw.queries}")
        codec = _train(manifest, draw.stored_rows(rows), draw.training_rows(query_rows))
    reproduced = codec.manifest
    assert reproduced is not None
    identical = reproduced.codes_sha256 == manifest.codes_sha256
    return Reproduction(identical, tuple(_differences(manifest, reproduced)), codec)


def _draw(manifest: Manifest) -> Draw | None:
    try:
        return None if manifest.draw is None else Draw(**manifest.draw)
    except TypeError:
        raise ValueError(f"manifest: draw={manifest.draw!r} is unknown to this release") from None


def _require_rows(rows: Rows, expected: int) -> None:
    if rows.n != expected:
        raise ValueError(f"x has {rows.n} rows, expected {expected}")


def _train(manifest: Manifest, x: Any, queries: Any) -> Codec:
    training = manifest.training
    analysis = analyze(x, normalize=manifest.plan["normalize"])
    return Codec.train(x, plan_like(manifest.plan, analysis), queries=queries, **training)


def plan_like(plan: dict[str, Any], analysis: Analysis) -> Plan:
    """Make a plan for other data with the parameters of a manifest's `plan`."""
    if plan["maker"] == "waterfill":
        return Plan.waterfill(analysis, plan["code_bytes"], plan["weighting"])
    high, kept = plan["high"] / analysis.d, plan["kept"] / analysis.d
    multiplier = plan["pq_multiplier"]
    return Plan.classic(analysis, high, kept, by="dimensions", pq_multiplier=multiplier)


def _differences(then: Manifest, now: Manifest) -> list[str]:
    names = {"data_sha256": "the vectors differ", "queries_sha256": "the queries differ"}
    differences = [
        words for name, words in names.items() if getattr(then, name) != getattr(now, name)
    ]
    for name in ("version", "numpy"):
        before, after = getattr(then, name), getattr(now, name)
        if before != after:
            package = "waterfill" if name == "version" else "NumPy"
            differences.append(f"{package} was {before} and is {after}")
    return differences
