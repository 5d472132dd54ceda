"""The command ``waterfill analyze``: spectrum, norms and findings of a file of vectors."""

from __future__ import annotations

import waterfill as wf
from waterfill.cli.inputs import open_stored
from waterfill.cli.options import Format, Key, Metric, MetricName, VectorFile
from waterfill.cli.output import Output, pairs

_VARIANCE_SHARES = (0.5, 0.9, 0.99)


def analyze(
    out: Output,
    file: VectorFile,
    key: Key = None,
    format: Format = None,
    metric: Metric = MetricName.ip,
) -> None:
    """Show the spectrum, the norms and anomalies of vectors.

    Example:
      waterfill analyze base.npy
      waterfill analyze glove.hdf5 --metric cosine --json
    """
    vectors = open_stored(file, key, format)
    with out.progress("analyzing", vectors.n) as vectors.advance:
        analysis = wf.analyze(vectors, normalize=metric is MetricName.cosine)
    norms, d = analysis.norms, analysis.d
    dims = {f"{share:.0%}": min(analysis.dims_for(share), d) for share in _VARIANCE_SHARES}
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
    norm_range = "constant" if norms.constant else f"{norms.min:.4g} to {norms.max:.4g}"
    values = {
        "vectors": f"{vectors.n:,} of {d} dimensions, {vectors.dtype.name}",
        "norms": f"mean {norms.mean:.4g}, {norm_range}",
        "effective rank": f"{analysis.effective_rank:.1f} of {d}",
        "variance": ", ".join(f"{share} in {n}" for share, n in dims.items()) + " dimensions",
        **{finding.kind: finding.message for finding in analysis.findings},
    }
    out.show(document, pairs(str(file), values))
