"""Commands that measure: analyze, bench, reproduce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill.cli.inputs import Vectors, provided, read_queries, read_stored
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
from waterfill.io import file_kind

_SPECTRUM = (0.5, 0.9, 0.99)


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
    from waterfill.cli import benchmark

    measure_peers = provided("measure_peers", "waterfill.tuning.peers")
    vectors = read_stored(file, key)
    asked = read_queries(queries, queries_key, vectors.d)
    case = benchmark.draw(vectors, asked, metric.value, k, rows, seed)
    sizes = code_bytes or [max(1, vectors.d // part) for part in (16, 8, 4)]
    with out.progress("measuring waterfill"):
        ours = [benchmark.measure(case, size, seed) for size in sizes]
    with out.progress("measuring FAISS"):
        peers = measure_peers(
            case.base, case.queries, case.truth, metric=metric.value, k=k, sizes=sizes
        )
    names = (
        *("name", "bytes_per_vector", "recall"),
        *("queries_per_second", "encode_rate", "train_seconds"),
    )
    measured = [{name: getattr(each, name) for name in names} for each in (*ours, *peers)]
    measured.sort(key=lambda row: row["bytes_per_vector"])
    document = {
        "file": str(file),
        "n": len(case.base),
        "queries": len(case.queries),
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
        f"{len(case.base):,} vectors of {vectors.d} dimensions, {len(case.queries):,} queries, "
        f"metric {metric.value}, threads {wf.get_num_threads()}"
    )
    header = ("index", "bytes", f"recall@{k}", "queries/s", "encoded/s", "training, s")
    out.show(document, grid(title, header, table))


def reproduce(
    out: Output,
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST", help="A manifest (JSON), or a codec that has one."),
    ],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The vectors that it was trained on.")
    ],
    key: Key = None,
) -> int:
    """Train again as a manifest says.

    Tells whether the codes are the same, and exits with 1 if they are not.

    Example:
      waterfill reproduce codec.wf base.npy
    """
    again = provided("reproduce", "waterfill.manifest")
    said = _manifest(manifest)
    vectors: Vectors = read_stored(data, key)
    with out.progress("training again"):
        found = again(said, vectors)
    document = {"identical": found.identical, "differences": list(found.differences)}
    words = "the same codes" if found.identical else "other codes: " + "; ".join(found.differences)
    out.show(document, f"{manifest} and {data}: {words}")
    return 0 if found.identical else 1


def _manifest(path: Path) -> Any:
    if file_kind(path) is not None:
        manifest = getattr(wf.read_codec(path), "manifest", None)
        if manifest is None:
            raise ValueError(f"{path}: this codec has no manifest; train it again to have one")
        return manifest
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path}: neither a file of waterfill nor JSON ({error}); wanted is a manifest"
        ) from None
