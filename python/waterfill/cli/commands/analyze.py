"""Commands that measure: analyze, bench, reproduce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill._util.optional import require_faiss
from waterfill._util.validation import as_positive_int
from waterfill.cli.errors import UNREACHED
from waterfill.cli.inputs import read_queries, read_stored
from waterfill.cli.options import (
    Key,
    Metric,
    MetricName,
    Neighbours,
    Queries,
    QueriesKey,
    Seed,
    VectorFile,
)
from waterfill.cli.output import Output, grid, pairs
from waterfill.evaluation.faiss_peers import measure_peers
from waterfill.evaluation.sample_split import Split, split_sample
from waterfill.io import file_kind
from waterfill.optimizer.trial_measurement import measure

_SPECTRUM = (0.5, 0.9, 0.99)
_PARTS = (16, 8, 4)  # of the dimensions: bytes of codes
_FIGURES = (
    *("name", "bytes_per_vector", "recall"),
    *("queries_per_second", "encode_rate", "train_seconds"),
)


def analyze(out: Output, file: VectorFile, key: Key = None, metric: Metric = MetricName.ip) -> None:
    """Show spectrum, norms and oddities of vectors.

    Example:
      waterfill analyze base.npy
      waterfill analyze glove.hdf5 --metric cosine --json
    """
    vectors = read_stored(file, key)
    with out.progress("analyzing", vectors.n) as vectors.advance:
        analysis = wf.analyze(vectors, normalize=metric is MetricName.cosine)
    norms, d = analysis.norms, analysis.d
    dims = {f"{share:.0%}": min(analysis.dims_for(share), d) for share in _SPECTRUM}
    document = {
        "file": str(file),
        "n": vectors.n,
        "d": d,
        "dtype": vectors.dtype.name,
        "normalized": analysis.normalized,
        "norms": {
            "min": norms.min,
            "max": norms.max,
            "mean": norms.mean,
            "std": norms.std,
            "constant": norms.constant,
        },
        "variance": analysis.variance,
        "effective_rank": analysis.effective_rank,
        "dimensions_for_variance": dims,
        "eigenvalues": analysis.eigenvalues,
        "findings": [
            {"kind": f.kind, "count": f.count, "message": f.message, "where": f.where}
            for f in analysis.findings
        ],
    }
    spread = "all the same" if norms.constant else f"{norms.min:.4g} to {norms.max:.4g}"
    values = {
        "vectors": f"{vectors.n:,} of {d} dimensions, {vectors.dtype.name}",
        "norms": f"mean {norms.mean:.4g}, {spread}",
        "effective rank": f"{analysis.effective_rank:.1f} of {d}",
        "variance": ", ".join(f"{share} in {n}" for share, n in dims.items()) + " dimensions",
        **{finding.kind: finding.message for finding in analysis.findings},
    }
    out.show(document, pairs(str(file), values))


def bench(
    out: Output,
    file: VectorFile,
    code_bytes: Annotated[
        list[int] | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help="Bytes of a code; may be given several times (default: d/16, d/8, d/4).",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", help="Vectors at most, drawn at random.")
    ] = 100_000,
    queries: Queries = None,
    k: Neighbours = 10,
    metric: Metric = MetricName.ip,
    seed: Seed = 0,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> None:
    """Compare waterfill with FAISS on vectors.

    What is measured is true of these vectors and this machine. Without --queries, 500 of the
    vectors are held out to ask with.

    Example:
      waterfill bench base.npy --queries query.npy --code-bytes 48 --threads 1
    """
    require_faiss("waterfill bench")
    vectors = read_stored(file, key)
    asked = read_queries(queries, queries_key, vectors.d)
    split = split_sample(vectors, asked, metric.value, k, seed, most=as_positive_int("rows", rows))
    sizes = code_bytes or [max(1, vectors.d // part) for part in _PARTS]
    with out.progress("measuring waterfill"):
        measured = _ours(split, sizes)
    with out.progress("measuring FAISS"):
        peers = measure_peers(
            split.base, split.queries, split.truth, metric=metric.value, k=k, sizes=sizes
        )
    measured += [{name: getattr(peer, name) for name in _FIGURES} for peer in peers]
    measured.sort(key=lambda row: row["bytes_per_vector"])
    document = {
        "file": str(file),
        "n": len(split.base),
        "queries": len(split.queries),
        "metric": metric.value,
        "k": k,
        "threads": wf.get_num_threads(),
        "rows": measured,
    }
    table = [
        [
            row["name"],
            f"{row['bytes_per_vector']:.1f}",
            f"{row['recall']:.4f}",
            f"{row['queries_per_second']:,.0f}",
            f"{row['encode_rate']:,.0f}",
            f"{row['train_seconds']:.2f}",
        ]
        for row in measured
    ]
    title = (
        f"{len(split.base):,} vectors of {vectors.d} dimensions, {len(split.queries):,} queries, "
        f"metric {metric.value}, threads {wf.get_num_threads()}"
    )
    header = ("index", "bytes", f"recall@{k}", "queries/s", "encoded/s", "training, s")
    out.show(document, grid(title, header, table))


def _ours(split: Split, sizes: list[int]) -> list[dict[str, Any]]:
    """Measure waterfill with so many bytes."""
    analysis = wf.analyze(split.base, normalize=split.metric == "cosine")
    rows = []
    for code_bytes in sizes:
        trial, _ = measure(wf.optimizer.TrialSettings(code_bytes), split, analysis)
        figures = {name: getattr(trial, name) for name in _FIGURES[1:]}
        rows.append({"name": f"waterfill {code_bytes}", **figures})
    return rows


def reproduce(
    out: Output,
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST", help="A manifest (JSON), or a codec that has one."),
    ],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The vectors that it was trained on.")
    ],
    queries: Queries = None,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> int:
    """Train again as a manifest says.

    Tells whether the codes are the same, and exits with 3 if they are not.

    Example:
      waterfill reproduce codec.wf base.npy
    """
    said = _manifest(manifest)
    vectors = read_stored(data, key)
    asked = read_queries(queries, queries_key, vectors.d)
    with out.progress("training again"):
        found = wf.reproduce(said, vectors, asked)
    document = {"identical": found.identical, "differences": list(found.differences)}
    words = "; ".join(("the same codes" if found.identical else "other codes", *found.differences))
    out.show(document, f"{manifest} and {data}: {words}")
    return 0 if found.identical else UNREACHED


def _manifest(path: Path) -> wf.training.Manifest:
    if file_kind(path) is not None:
        manifest = wf.read_codec(path).manifest
        if manifest is None:
            raise ValueError(f"{path}: this codec has no manifest; train it again to have one")
        return manifest
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        # That of `waterfill info --json` has it among other things.
        return wf.training.Manifest.from_json(json.dumps(document.get("manifest", document)))
    except (AttributeError, ValueError):
        raise ValueError(
            f"{path}: neither a file of waterfill nor a manifest; wanted is a codec, an index, or "
            "what waterfill info --json prints of one"
        ) from None
