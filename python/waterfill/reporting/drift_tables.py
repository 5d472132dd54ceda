"""A drift report as tables for notebooks: plain HTML, as of the other results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import paragraph, table

if TYPE_CHECKING:
    from waterfill.drift.attribution import Moved
    from waterfill.drift.comparison import Verdict
    from waterfill.drift.model_change import Model
    from waterfill.drift.report import DriftReport, Part

FAMILIES = {
    "mean": "means along eigen-directions",
    "variance": "variances along eigen-directions",
    "dimensions": "the vectors' own dimensions",
    "subspace": "energy in bands of directions",
    "norm": "norms",
    "quantization": "error of decoded vectors",
}
_FAMILY = ("family", "what it sees", "largest change", "p, corrected", "alarm")
_MOVED = ("what", "class", "change", "how far", "standard errors")
_ENERGY = ("class", "dimensions", "baseline", "now")
_PAIR = ("what", "value")
_NAMED = 3
_DEVIATIONS = ("mean", "dimensions")


def drift_html(report: DriftReport) -> str:
    """Say what `summary` says as tables."""
    parts = {"vectors": report.data}
    if report.queries is not None:
        parts["queries"] = report.queries
    tables = [_part_html(name, part) for name, part in parts.items()]
    tables.append(table("Embedding model", _PAIR, _model_rows(report.model)))
    if report.cost is not None or report.error_ratio is not None:
        tables.append(table("What it costs", _PAIR, _cost_rows(report)))
    if report.cost is not None:
        tables.append(paragraph(f"{report.cost.words}."))
    counts = [(name, f"{count:,}") for name, count in report.quality.items()]
    tables.append(table("Rows that were seen", _PAIR, counts))
    return paragraph(verdict(report)) + "".join(tables)


def verdict(report: DriftReport) -> str:
    """Say in one line whether there is drift, and of what."""
    if not report.model.same:
        kind = "Another embedding model" if report.model.verdict == "another" else "Two models"
        return f"{kind}: vectors of two models do not compare"
    if report.data.learning:
        return f"The baseline is not complete: {report.data.baseline_rows:,} vectors so far"
    parts = {"vectors": report.data}
    if report.queries is not None:
        parts["queries"] = report.queries
    found = [f"{name} ({_alarms(part)})" for name, part in parts.items() if part.alarms]
    if found:
        return f"Drift of {' and of '.join(found)}"
    return "No drift" if report.data.judged else "Too few vectors to tell"


def _alarms(part: Part) -> str:
    if len(part.alarms) <= _NAMED:
        return ", ".join(part.alarms)
    return f"{len(part.alarms)} of {len(part.verdicts)} families"


def change(one: Verdict) -> str:
    """Write the largest change of a family."""
    if one.family in _DEVIATIONS:
        return _signed(one.effect)
    return _ratio(one.effect)


def distance(one: Moved) -> str:
    """Write how far something moved."""
    if one.change == "mean":
        return _signed(one.effect)
    return _ratio(one.effect) if one.change == "spread" else ""


def chance(p: float) -> str:
    """Write a probability, of small ones the power of ten."""
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def _signed(deviations: float) -> str:
    return f"{'-' if deviations < 0 else '+'}{fmt.number(abs(deviations), 2)} deviations"


def _ratio(value: float) -> str:
    """Write a ratio so that it differs from 1 where it does."""
    return f"x {fmt.number(value, 5 if abs(value - 1) < 0.01 else 3)}"


def _part_html(name: str, part: Part) -> str:
    """Return verdicts, what moved and the energy of classes."""
    if part.learning:
        return paragraph(f"{part.baseline_rows:,} {name} seen, which become the baseline.")
    sizes = f"{part.rows:,} {name} against {part.baseline_rows:,} of the baseline"
    if not part.judged:
        return paragraph(f"{sizes}: too few to tell.")
    rows = [
        (each.family, FAMILIES[each.family], change(each), chance(each.corrected), _yes(each.alarm))
        for each in part.verdicts
    ]
    made = [table(f"{sizes}, look {part.look}", _FAMILY, rows)]
    moved = part.moved
    if moved.first:
        caption = (
            f"What moved, of {name}: {fmt.plural(moved.directions, 'direction')} and "
            f"{fmt.plural(moved.dimensions, 'dimension')} in all, the likeliest cause first"
        )
        made.append(table(caption, _MOVED, [_moved_row(one) for one in moved.first]))
    energies = [
        (
            one.relevance,
            one.dimensions,
            fmt.percent(one.before),
            fmt.percent(one.now),
        )
        for one in part.relevances
    ]
    made.append(table(f"Energy of the {name} by class of dimensions", _ENERGY, energies))
    return "".join(made)


def _moved_row(one: Moved) -> tuple[str, ...]:
    name = f"{one.kind} {one.number}"
    score = f"{one.score:+.1f}" if one.change in ("mean", "spread") else "certain"
    return name, one.relevance or "-", one.change, distance(one) or "-", score


def _model_rows(model: Model) -> list[tuple[str, str]]:
    rows = [
        ("verdict", model.verdict),
        ("vectors with their energy elsewhere", fmt.percent(model.foreign_rows)),
        (
            "dimensions that had one value and vary",
            ", ".join(map(str, model.alive)) if model.alive else "none",
        ),
    ]
    if not model.probes_checked:
        return [*rows, ("probes", "none were given")]
    changed = f"{model.probes_changed:,} of {model.probes_checked:,} come out otherwise"
    return [
        *rows,
        ("probes", changed),
        ("their mean cosine", fmt.number(model.probe_cosine)),
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
        (f"recall now, among {cost.size:,}", fmt.percent(cost.recall_now)),
        (f"recall if retrained ({how})", fmt.percent(cost.recall_if_retrained)),
        ("gap", f"{cost.gap:.3f} ({cost.gap_low:.3f} to {cost.gap_high:.3f})"),
    ]


def _yes(alarm: bool) -> str:
    return "yes" if alarm else "no"
