"""The report: one file that needs nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.optional import require
from waterfill._util.validation import as_file_name, as_number, as_positive_int
from waterfill._util.version import installed_version
from waterfill.analysis import Analysis
from waterfill.evaluation.faiss_peers import Peer, measure_peers
from waterfill.optimizer.result import Result
from waterfill.reporting import chart_data, charts, sections
from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import figures, items, paragraph, scrolled, table, text
from waterfill.reporting.notebook import analysis_rows, plan_html

_TIMES = (1, 10, 100)  # n: what the estimate is for
_PEER_STEPS = (0.5, 1, 2)  # times the chosen bytes
_LARGEST_PEER = 4  # dimensions a byte: beyond it product quantizers train for minutes


def report(
    result: Result,
    path: str | os.PathLike[str],
    *,
    peers: bool | Sequence[Peer] = True,
    n: int | None = None,
    price_per_gb: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a page about a result: one HTML file that needs no network.

    It shows what was found, recall against bytes beside FAISS's types, recall in larger
    collections, the spectrum with the water level, bits, the distance from Shannon's bound, what n
    vectors take, findings about the data, and how to make it all again.

    Parameters
    ----------
    result : Result
        What `optimize` returned.
    path : str or path-like
        The file appears whole or not at all; an existing one is replaced.
    peers : bool or sequence of Peer
        Train and search indexes of FAISS on the same split, which takes up to a minute. Without
        FAISS the page says so. Or what `measure_peers` returned.
    n : int, optional
        Vectors that the collection will have; by default `result.ntotal`.
    price_per_gb : float, optional
        Of a gigabyte of memory a month, in any currency.
    progress : callable, optional
        Is told the name of each peer before it is trained.

    Returns
    -------
    pathlib.Path
        Where it is.

    Raises
    ------
    ImportError
        If Altair or vl-convert is not installed: ``pip install "waterfill[report]"``.
    OSError
        What the file system says: no such directory, no space, no permission.
    ValueError, TypeError
        If an argument has a value or a type that is not possible.
    """
    _check(result, peers)
    size = result.ntotal if n is None else as_positive_int("n", n)
    if price_per_gb is not None:
        price_per_gb = as_number("price_per_gb", price_per_gb, 0, finite=True)
    script = _library()
    with atomic_write(path) as file:
        found, notes = _peers(result, peers, progress)
        page = _page(result, found, notes, size, price_per_gb, script)
        file.write(page.encode("utf-8"))
    return Path(os.fsdecode(as_file_name(path)))


def _check(result: Any, peers: Any) -> None:
    if not isinstance(result, Result):
        raise TypeError(f"result must be what optimize returns, got {type(result).__name__}")
    if isinstance(peers, bool):
        return
    if isinstance(peers, str) or not isinstance(peers, Sequence):
        raise TypeError(f"peers must be True, False or a list of Peer, got {type(peers).__name__}")
    for peer in peers:
        if not isinstance(peer, Peer):
            raise TypeError(f"peers must hold Peer, got {type(peer).__name__}")


def require_report() -> None:
    """Ask for the packages that a page is made with.

    Raises
    ------
    ImportError
        If one of them is not installed.
    """
    charts.library()
    require("vl_convert", "report", "report")


def _library() -> str:
    """Return Vega, Vega-Lite and what embeds them, of the version that Altair writes for."""
    schema = charts.library().SCHEMA_VERSION.lstrip("v")
    bundle = require("vl_convert", "report", "report").javascript_bundle(
        vl_version=".".join(schema.split(".")[:2])
    )
    return _in_script(bundle)


def _in_script(source: str) -> str:
    """Let text within a script element not end it."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _peers(
    result: Result, wanted: bool | Sequence[Peer], progress: Callable[[str], None] | None
) -> tuple[Sequence[Peer], list[str]]:
    """Return peers, and why some or all are not there."""
    if wanted is False:
        return [], []
    if wanted is True:
        split, d = result.split, result.codec.d
        most = max(1, d // _LARGEST_PEER)
        near = [step * result.best.bytes_per_vector for step in _PEER_STEPS]
        try:
            wanted = measure_peers(
                split.base,
                split.queries,
                split.truth,
                metric=result.metric,
                k=result.k,
                sizes=[min(max(1, round(size)), most) for size in near],
                progress=progress,
            )
        except ImportError as error:
            return [], [f"No peers are shown: {error}."]
    left_out = getattr(wanted, "left_out", {})
    return wanted, [f"{name} is left out: {reason}." for name, reason in left_out.items()]


def _page(
    result: Result,
    peers: Sequence[Peer],
    notes: list[str],
    n: int,
    price: float | None,
    script: str,
) -> str:
    found = chart_data.spectrum(result.codec.plan)
    expected = chart_data.expectations(result.growth, n)
    shown = {
        "recall": sections.recall(result, peers, notes),
        "growth": sections.growth(result, expected, n),
        "spectrum": sections.spectrum(result.codec, found),
        "bits": sections.bits(result.codec, found),
        "distortion": sections.distortion(result.codec),
    }
    specs = {name: section.spec for name, section in shown.items()}
    return Template(_resource("page.html")).substitute(
        title=text(f"{result.codec.d} dimensions in {fmt.size(result.best.bytes_per_vector)}"),
        style=_resource("page.css"),
        answer=text(fmt.answer(result, n)),
        choice=paragraph(fmt.choice(result), "lead"),
        key_figures=figures(_key_figures(result, n)),
        **{name: section.html for name, section in shown.items()},
        estimate=_estimate(result, n, price),
        findings=_findings(result.analysis),
        plan=scrolled(plan_html(result.codec.plan), "Plan"),
        recipe=text(sections.recipe(result)),
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
            "a vector",
            fmt.size(best.bytes_per_vector),
            f"float32: {fmt.size(4 * d)}",
        ),
        (f"recall@{result.k}", fmt.percent(best.recall), metric),
        (
            f"expected among {fmt.count(n)}",
            fmt.percent(at_n.recall),
            fmt.interval(at_n),
        ),
        ("recall@1", fmt.percent(best.recall_at_1), "the nearest comes first"),
        ("queries a second", fmt.rate(best.queries_per_second), here),
        ("vectors encoded a second", fmt.rate(best.encode_rate), here),
        ("training", fmt.seconds(best.train_seconds), f"{result.analysis.n:,} vectors"),
        (
            "search for settings",
            fmt.seconds(result.seconds),
            fmt.plural(len(result.trials), "trial"),
        ),
    ]


def _estimate(result: Result, n: int, price: float | None) -> str:
    rows = [result.estimate(times * n, price_per_gb=price) for times in _TIMES]
    return scrolled(sections.estimates(result, rows, n), "Estimate")


def _findings(analysis: Analysis) -> str:
    found = [finding.message for finding in analysis.findings]
    told = items(found) if found else paragraph("Nothing to worry about.")
    return told + scrolled(
        table("The sample", ("what", "value"), analysis_rows(analysis)), "Sample"
    )


def _manifest(result: Result) -> str:
    manifest = result.codec.manifest
    if manifest is None:
        return paragraph("This codec carries no record of how it was made.", "note")
    record = text(manifest.to_json())
    return (
        f'<pre class="record" tabindex="0" role="region" aria-label="Record">{text(manifest)}</pre>'
        "<details><summary>The record as JSON</summary>"
        f'<pre tabindex="0" role="region" aria-label="JSON">{record}</pre></details>'
    )
