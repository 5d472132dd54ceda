"""`wf.report`: the self-contained HTML page about a result of the optimizer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.optional import require
from waterfill._util.progress import Meter, Option, metered
from waterfill._util.validation import as_file_name, as_number, as_positive_int
from waterfill._util.version import installed_version
from waterfill.analysis import Analysis
from waterfill.evaluation.faiss_peers import Peer, Peers, measure_peers
from waterfill.optimizer.result import Result
from waterfill.reporting import chart_data, page_sections, vega_charts
from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import figures, items, paragraph, scrolled, table, text
from waterfill.reporting.notebook import analysis_rows, plan_html

_SIZES = (1, 10, 100)  # of the estimates, times n
_PEER_SIZES = (0.5, 1, 2)  # times the chosen bytes
_MIN_DIMS_PER_BYTE = 4  # product quantizers of more bytes train for minutes


def report(
    result: Result,
    path: str | os.PathLike[str],
    *,
    peers: bool | Sequence[Peer] = True,
    n: int | None = None,
    price_per_gb: float | None = None,
    progress: Option = False,
) -> Path:
    """Write an HTML page about a result: one file that needs no network.

    The page shows the key figures, recall against bytes compared with FAISS index types, recall in
    larger collections, the spectrum with the water level, bits per dimension, the distance from the
    Shannon bound [1]_, memory and time for n vectors, findings about the data, and how to reproduce
    the codec.

    Parameters
    ----------
    result : Result
        As returned by `optimize`.
    path : str or path-like
        Written completely or not at all; an existing file is replaced.
    peers : bool or sequence of Peer
        True trains and searches FAISS indexes on the same split, which takes up to a minute;
        without FAISS a note on the page says so. False leaves them out. A sequence is shown as
        `waterfill.evaluation.faiss_peers.measure_peers` returned it.
    n : int, optional
        Size of the full collection; by default `result.ntotal`.
    price_per_gb : float, optional
        Price of a GB of memory per month, in any currency.
    progress : bool or callable, optional
        See `Codec.train`. Phases are the FAISS index types.

    Returns
    -------
    pathlib.Path
        The path of the page.

    Raises
    ------
    ImportError
        If Altair or vl-convert is not installed: ``pip install ".[report]"``.
    OSError
        If the file cannot be written.
    ValueError, TypeError
        If an argument is invalid.

    References
    ----------
    .. [1] C. E. Shannon, "Coding theorems for a discrete source with a fidelity criterion", IRE
       National Convention Record, 1959.
    """
    _check(result, peers)
    size = result.ntotal if n is None else as_positive_int("n", n)
    if price_per_gb is not None:
        price_per_gb = as_number("price_per_gb", price_per_gb, 0, finite=True)
    script = _library()
    with atomic_write(path) as file:
        with metered(progress) as meter:
            measured, notes = _peers(result, peers, meter)
        page = _page(result, measured, notes, size, price_per_gb, script)
        file.write(page.encode("utf-8"))
    return Path(os.fsdecode(as_file_name(path)))


def _check(result: Any, peers: Any) -> None:
    if not isinstance(result, Result):
        raise TypeError(
            f"result must be a Result as returned by optimize, got {type(result).__name__}"
        )
    if isinstance(peers, bool):
        return
    if isinstance(peers, str) or not isinstance(peers, Sequence):
        raise TypeError(f"peers must be True, False or a list of Peer, got {type(peers).__name__}")
    for peer in peers:
        if not isinstance(peer, Peer):
            raise TypeError(f"peers must hold Peer, got {type(peer).__name__}")


def require_report() -> None:
    """Import the packages that write the page.

    Raises
    ------
    ImportError
        If one of them is not installed.
    """
    vega_charts.library()
    require("vl_convert", "report", "report")


def _library() -> str:
    """Return the script of Vega, Vega-Lite and Vega-Embed, in the version that Altair uses."""
    schema = vega_charts.library().SCHEMA_VERSION.lstrip("v")
    require("vl_convert", "report", "report")
    return _in_script(_bundle(".".join(schema.split(".")[:2])))


@cache
def _bundle(version: str) -> str:
    # vl-convert works for seconds without giving up the GIL, so that Ctrl-C would have to wait.
    code = (
        "import sys, vl_convert; "
        f"sys.stdout.write(vl_convert.javascript_bundle(vl_version={version!r}))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if made.returncode:
        raise RuntimeError(f"vl-convert makes no bundle: {made.stderr.decode()[-500:]}")
    return made.stdout.decode("utf-8")


def _in_script(source: str) -> str:
    """Escape the text that would end a script element."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _peers(
    result: Result, peers: bool | Sequence[Peer], meter: Meter
) -> tuple[Sequence[Peer], list[str]]:
    """Return peers, and notes about those that are missing."""
    if isinstance(peers, bool):
        try:
            peers = _measured_peers(result, meter) if peers else []
        except ImportError as error:
            return [], [f"FAISS index types are not shown: {error}."]
    left_out = getattr(peers, "left_out", {})
    return peers, [f"{name} is left out: {reason}." for name, reason in left_out.items()]


def _measured_peers(result: Result, meter: Meter) -> Peers:
    split, d = result.split, result.codec.d
    most = max(1, d // _MIN_DIMS_PER_BYTE)
    sizes = [factor * result.best.bytes_per_vector for factor in _PEER_SIZES]
    return measure_peers(
        split.base,
        split.queries,
        split.truth,
        metric=result.metric,
        k=result.k,
        sizes=[min(max(1, round(size)), most) for size in sizes],
        progress=lambda name: meter.begin(f"FAISS {name}", None),
    )


def _page(
    result: Result,
    peers: Sequence[Peer],
    notes: list[str],
    n: int,
    price: float | None,
    script: str,
) -> str:
    spectrum = chart_data.spectrum(result.codec.plan)
    expected = chart_data.expectations(result.growth, n)
    parts = {
        "recall": page_sections.recall(result, peers, notes),
        "growth": page_sections.growth(result, expected, n),
        "spectrum": page_sections.spectrum(result.codec, spectrum),
        "bits": page_sections.bits(result.codec, spectrum),
        "distortion": page_sections.distortion(result.codec),
    }
    specs = {name: section.spec for name, section in parts.items()}
    return Template(_resource("page.html")).substitute(
        title=text(f"{result.codec.d} dimensions in {fmt.size(result.best.bytes_per_vector)}"),
        style=_resource("page.css"),
        answer=text(fmt.answer(result, n)),
        choice=paragraph(fmt.choice(result), "lead"),
        key_figures=figures(_key_figures(result, n)),
        **{name: section.html for name, section in parts.items()},
        estimate=_estimate(result, n, price),
        findings=_findings(result.analysis),
        plan=scrolled(plan_html(result.codec.plan), "Plan"),
        recipe=text(page_sections.recipe(result)),
        manifest=_manifest(result),
        version=text(installed_version()),
        charts=json.dumps(specs, allow_nan=False).replace("<", "\\u003c"),
        library=script,
        script=_resource("page.js"),
    )


def _resource(name: str) -> str:
    return files("waterfill.reporting").joinpath(name).read_text(encoding="utf-8")


def _key_figures(result: Result, n: int) -> list[tuple[str, str, str]]:
    best, d = result.best, result.codec.d
    at_n = result.growth.at(n)
    threads = _core.get_num_threads()
    here = f"{fmt.plural(threads, 'thread')}, this machine"
    metric = fmt.METRICS[result.metric]
    return [
        (
            "size per vector",
            fmt.size(best.bytes_per_vector),
            f"float32: {fmt.size(4 * d)}",
        ),
        (f"recall@{result.k}", fmt.percent(best.recall), metric),
        (
            f"expected among {fmt.count(n)}",
            fmt.percent(at_n.recall),
            fmt.interval(at_n),
        ),
        ("recall@1", fmt.percent(best.recall_at_1), "the nearest is ranked first"),
        ("queries per second", fmt.rate(best.queries_per_second), here),
        ("vectors encoded per second", fmt.rate(best.encode_rate), here),
        ("training", fmt.seconds(best.train_seconds), f"{result.analysis.n:,} vectors"),
        (
            "search for settings",
            fmt.seconds(result.seconds),
            fmt.plural(len(result.trials), "trial"),
        ),
    ]


def _estimate(result: Result, n: int, price: float | None) -> str:
    rows = [result.estimate(factor * n, price_per_gb=price) for factor in _SIZES]
    return scrolled(page_sections.estimates(result, rows, n), "Estimate")


def _findings(analysis: Analysis) -> str:
    messages = [finding.message for finding in analysis.findings]
    findings = items(messages) if messages else paragraph("No findings.")
    sample = table("The sample", ("property", "value"), analysis_rows(analysis))
    return findings + scrolled(sample, "Sample")


def _manifest(result: Result) -> str:
    manifest = result.codec.manifest
    if manifest is None:
        return paragraph("This codec has no manifest.", "note")
    record = text(manifest.to_json())
    region = 'tabindex="0" role="region"'
    return (
        f'<pre class="record" {region} aria-label="Manifest">{text(manifest)}</pre>'
        "<details><summary>The manifest as JSON</summary>"
        f'<pre {region} aria-label="JSON">{record}</pre></details>'
    )
