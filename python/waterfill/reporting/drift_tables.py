"""Notebook tables of a drift report, and the formatting of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import paragraph, table

if TYPE_CHECKING:
    from waterfill.drift.attribution import Moved
    from waterfill.drift.model_change import Model
    from waterfill.drift.report import DriftReport, StreamReport
    from waterfill.drift.window_comparison import Verdict

FAMILIES = {
    "mean": "means along eigen-directions",
    "variance": "variances along eigen-directions",
    "dimensions": "original dimensions of the vectors",
    "subspace": "energy in bands of directions",
    "norm": "norms",
    "quantization": "error of decoded vectors",
}
_FAMILY = ("family", "what it tests", "largest change", "corrected p", "alarm")
_MOVED = ("direction or dimension", "class", "change", "effect", "standard errors")
_ENERGY = ("class", "dimensions", "baseline", "current")
_PAIR = ("property", "value")
_MAX_NAMED = 3  # families in the verdict
_DEVIATIONS = ("mean", "dimensions")


def drift_html(report: DriftReport) -> str:
    """Return a drift report as tables."""
    streams = {"vectors": report.data}
    if report.queries is not None:
        streams["queries"] = report.queries
    tables = [_stream_html(name, stream) for name, stream in streams.items()]
    tables.append(table("Embedding model", _PAIR, _model_rows(report.model)))
    if report.cost is not None or report.error_ratio is not None:
        tables.append(table("Loss of recall", _PAIR, _cost_rows(report)))
    if report.cost is not None:
        tables.append(paragraph(f"{report.cost.words}."))
    counts = [(name, f"{count:,}") for name, count in report.quality.items()]
    tables.append(table("Rows of the window", _PAIR, counts))
    return paragraph(verdict(report)) + "".join(tables)


def verdict(report: DriftReport) -> str:
    """Summarise in a line whether there is drift, and in which families."""
    if not report.model.same:
        kind = "Another embedding model" if report.model.verdict == "another" else "Two models"
        return f"{kind}: vectors of two models are not comparable"
    if report.data.learning:
        return f"The baseline is incomplete: {report.data.baseline_rows:,} vectors so far"
    streams = {"vectors": report.data}
    if report.queries is not None:
        streams["queries"] = report.queries
    drifted = [f"{name} ({_alarms(stream)})" for name, stream in streams.items() if stream.alarms]
    if drifted:
        return f"Drift of {' and of '.join(drifted)}"
    return "No drift" if report.data.judged else "Too few vectors to test"


def _alarms(stream: StreamReport) -> str:
    if len(stream.alarms) <= _MAX_NAMED:
        return ", ".join(stream.alarms)
    return f"{len(stream.alarms)} of {len(stream.verdicts)} families"


def change(one: Verdict) -> str:
    """Format the largest change of a family."""
    if one.family in _DEVIATIONS:
        return _signed(one.effect)
    return _ratio(one.effect)


def distance(one: Moved) -> str:
    """Format the effect of a direction or a dimension that moved."""
    if one.change == "mean":
        return _signed(one.effect)
    return _ratio(one.effect) if one.change == "spread" else ""


def p_value(p: float) -> str:
    """Format a p-value; small ones as a power of ten."""
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def _signed(deviations: float) -> str:
    return f"{'-' if deviations < 0 else '+'}{fmt.number(abs(deviations), 2)} deviations"


def _ratio(value: float) -> str:
    """Format a ratio with enough digits to differ from 1."""
    return f"x {fmt.number(value, 5 if abs(value - 1) < 0.01 else 3)}"


def _stream_html(name: str, stream: StreamReport) -> str:
    """Return verdicts, what moved, and energy by class, of vectors or queries."""
    if stream.learning:
        return paragraph(
            f"{stream.baseline_rows:,} {name} so far, which will be part of the baseline."
        )
    sizes = f"{stream.rows:,} {name} against {stream.baseline_rows:,} of the baseline"
    if not stream.judged:
        return paragraph(f"{sizes}: too few to test.")
    rows = [
        (
            each.family,
            FAMILIES[each.family],
            change(each),
            p_value(each.corrected),
            _yes(each.alarm),
        )
        for each in stream.verdicts
    ]
    tables = [table(f"{sizes}, look {stream.look}", _FAMILY, rows)]
    moved = stream.moved
    if moved.first:
        caption = (
            f"What moved in {name}: {fmt.plural(moved.directions, 'direction')} and "
            f"{fmt.plural(moved.dimensions, 'dimension')} in total, the most likely cause first"
        )
        tables.append(table(caption, _MOVED, [_moved_row(one) for one in moved.first]))
    energies = [
        (
            one.relevance,
            one.dimensions,
            fmt.percent(one.before),
            fmt.percent(one.now),
        )
        for one in stream.relevances
    ]
    tables.append(table(f"Energy of {name} by class of dimensions", _ENERGY, energies))
    return "".join(tables)


def _moved_row(one: Moved) -> tuple[str, ...]:
    name = f"{one.kind} {one.number}"
    score = f"{one.score:+.1f}" if one.change in ("mean", "spread") else "certain"
    return name, one.relevance or "-", one.change, distance(one) or "-", score


def _model_rows(model: Model) -> list[tuple[str, str]]:
    rows = [
        ("verdict", model.verdict),
        ("vectors with their energy in other directions", fmt.percent(model.foreign_rows)),
        (
            "formerly constant dimensions",
            ", ".join(map(str, model.alive)) if model.alive else "none",
        ),
    ]
    if not model.probes_checked:
        return [*rows, ("probes", "none")]
    changed = f"{model.probes_changed:,} of {model.probes_checked:,} changed"
    return [
        *rows,
        ("probes", changed),
        ("mean cosine of the probes", fmt.number(model.probe_cosine)),
    ]


def _cost_rows(report: DriftReport) -> list[tuple[str, str]]:
    rows = []
    if report.error_ratio is not None:
        grown = f"{fmt.number(report.error_ratio)} times the baseline's"
        rows.append(("error of the codec", grown))
    cost = report.cost
    if cost is None:
        return rows
    how = "measured" if cost.measured else "estimated, at most"
    return [
        *rows,
        (f"current recall, among {cost.size:,}", fmt.percent(cost.recall_now)),
        (f"recall if retrained ({how})", fmt.percent(cost.recall_if_retrained)),
        ("gap", f"{cost.gap:.3f} ({cost.gap_low:.3f} to {cost.gap_high:.3f})"),
    ]


def _yes(alarm: bool) -> str:
    return "yes" if alarm else "no"
