"""A codec made again from its record."""

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
    """What came of training once more.

    Attributes
    ----------
    identical : bool
        Whether the codes of the rows that both were trained on are the same.
    differences : tuple of str
        What is not as the manifest says, in words; versions too, which need not matter.
    codec : Codec
        The new one.
    """

    identical: bool
    differences: tuple[str, ...]
    codec: Codec


def reproduce(manifest: Manifest | Codec, x: Any, queries: Any = None) -> Reproduction:
    """Train a codec as a manifest says, and compare.

    Parameters
    ----------
    manifest : Manifest or Codec
        The record, or a codec that carries it.
    x : array_like, shape (n, d)
        The same vectors: those that `Codec.train` got, or the sample that `optimize` got.
    queries : array_like, shape (m, d), optional
        The same queries, where there were some.

    Returns
    -------
    Reproduction

    Raises
    ------
    ValueError
        If what is given is of another shape than the manifest says, or centroids had been given to
        train with.
    TypeError
        If an argument has the wrong type.
    """
    if isinstance(manifest, Codec):
        if manifest.manifest is None:
            raise ValueError("manifest: the codec has none; it is of a file before format 1.3")
        manifest = manifest.manifest
    if not isinstance(manifest, Manifest):
        raise TypeError(f"manifest must be a waterfill.Manifest, got {type(manifest).__name__}")
    rows = Rows(x, "x", manifest.d)
    asked = None if queries is None else Rows(queries, "queries", manifest.d)
    if manifest.training["cells"] is None:
        raise ValueError("manifest: centroids were given to train with, and it has none of them")
    draw = _draw(manifest)
    given = manifest.queries_sha256 is not None if draw is None else draw.queries > 0
    if given != (asked is not None):
        raise ValueError(
            "queries were given at first: give the same ones"
            if given
            else "queries: none were given at first: leave them out"
        )
    if draw is None:
        _require_rows(rows, manifest.rows)
        codec = _train(manifest, x, queries)
    else:
        _require_rows(rows, draw.rows)
        if asked is not None and asked.n != draw.queries:
            raise ValueError(f"queries has {asked.n} rows; the codec was made with {draw.queries}")
        codec = _train(manifest, draw.stored_rows(rows), draw.training_rows(asked))
    made = codec.manifest
    assert made is not None
    identical = made.codes_sha256 == manifest.codes_sha256
    return Reproduction(identical, tuple(_differences(manifest, made)), codec)


def _draw(manifest: Manifest) -> Draw | None:
    try:
        return None if manifest.draw is None else Draw(**manifest.draw)
    except TypeError:
        raise ValueError(f"manifest: draw={manifest.draw!r} is not one of this release") from None


def _require_rows(rows: Rows, wanted: int) -> None:
    if rows.n != wanted:
        raise ValueError(f"x has {rows.n} rows; the codec was made of {wanted}")


def _train(manifest: Manifest, x: Any, queries: Any) -> Codec:
    training = manifest.training
    analysis = analyze(x, normalize=manifest.plan["normalize"])
    return Codec.train(x, plan_like(manifest.plan, analysis), queries=queries, **training)


def plan_like(plan: dict[str, Any], analysis: Analysis) -> Plan:
    """Make a plan of other data as a manifest's `plan` says."""
    if plan["maker"] == "waterfill":
        return Plan.waterfill(analysis, plan["code_bytes"], plan["weighting"])
    high, kept = plan["high"] / analysis.d, plan["kept"] / analysis.d
    multiplier = plan["pq_multiplier"]
    return Plan.classic(analysis, high, kept, by="dimensions", pq_multiplier=multiplier)


def _differences(then: Manifest, now: Manifest) -> list[str]:
    names = {"data_sha256": "the vectors are others", "queries_sha256": "the queries are others"}
    found = [words for name, words in names.items() if getattr(then, name) != getattr(now, name)]
    for name in ("version", "numpy"):
        before, after = getattr(then, name), getattr(now, name)
        if before != after:
            what = "waterfill" if name == "version" else "NumPy"
            found.append(f"{what} was {before} and is {after}")
    return found
