"""Notebook tables of analyses, plans and results: plain HTML that themes style."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waterfill.reporting import chart_data
from waterfill.reporting import formatting as fmt
from waterfill.reporting.html_tables import items, paragraph, table

if TYPE_CHECKING:
    from waterfill.analysis import Analysis
    from waterfill.optimizer.result import Result
    from waterfill.optimizer.trial import Frontier, Trial
    from waterfill.plan import Plan

_TRIAL = (
    "settings",
    "bytes",
    "recall",
    "times smaller",
    "queries per second",
    "vectors per second",
)
_CLASS = ("class", "dimensions", "bits", "bits each", "variance", "coding")


def analysis_html(analysis: Analysis) -> str:
    """Return an analysis as a table, with the findings below."""
    caption = f"Analysis of {analysis.n:,} vectors of {analysis.d} dimensions"
    rows = analysis_rows(analysis)
    messages = [finding.message for finding in analysis.findings]
    return table(caption, ("property", "value"), rows) + (items(messages) if messages else "")


def analysis_rows(analysis: Analysis) -> list[tuple[str, str]]:
    """Return names and values of the properties of the sample."""
    norms = analysis.norms
    norm_range = (
        "constant" if norms.constant else f"{fmt.number(norms.min)} to {fmt.number(norms.max)}"
    )
    shares = ", ".join(
        f"{share:.0%} in {min(analysis.dims_for(share), analysis.d)}" for share in (0.5, 0.9, 0.99)
    )
    return [
        ("vectors", f"{analysis.n:,}" + (", normalised" if analysis.normalized else "")),
        ("dimensions", str(analysis.d)),
        ("norms", f"mean {fmt.number(norms.mean)}, {norm_range}"),
        ("effective rank", f"{analysis.effective_rank:.1f}"),
        ("variance, in leading eigen-dimensions", shares),
    ]


def plan_html(plan: Plan) -> str:
    """Return a plan as a table: how each class of dimensions is coded."""
    caption = (
        f"Plan ({plan.maker}): {plan.d} dimensions in {plan.code_size} bytes, "
        f"{fmt.smaller(4 * plan.d / plan.code_size)} than float32"
    )
    note = (
        f"Predicted distortion {fmt.percent(plan.predicted_distortion)}, Shannon bound "
        f"{fmt.percent(plan.shannon_bound)}, weighting {plan.weighting:g}."
    )
    return table(caption, _CLASS, plan_rows(plan)) + paragraph(note)


def plan_rows(plan: Plan) -> list[tuple[object, ...]]:
    """Return a row for each class of dimensions."""
    return [
        (
            one.relevance,
            one.dimensions,
            fmt.number(one.bits),
            fmt.number(one.bits / one.dimensions) if one.dimensions else "-",
            fmt.percent(one.share),
            chart_data.MEANINGS[one.relevance],
        )
        for one in chart_data.spectrum(plan).classes
    ]


def frontier_html(frontier: Frontier, best: Trial | None = None) -> str:
    """Return the Pareto frontier as a table; the chosen trial is emphasised."""
    marked = next((i for i, trial in enumerate(frontier) if trial == best), None)
    caption = "Pareto frontier: no other trial has both fewer bytes and higher recall"
    return table(caption, _TRIAL, [trial_row(trial) for trial in frontier], marked)


def trial_row(trial: Trial) -> tuple[str, ...]:
    """Return the cells of a trial."""
    return (
        str(trial.settings),
        fmt.number(trial.bytes_per_vector),
        fmt.percent(trial.recall),
        fmt.number(trial.memory_ratio),
        fmt.rate(trial.queries_per_second),
        fmt.rate(trial.encode_rate),
    )


def result_html(result: Result) -> str:
    """Return the summary of a result, and the frontier it was chosen from."""
    return (
        paragraph(fmt.answer(result))
        + paragraph(fmt.choice(result))
        + frontier_html(result.frontier, result.best)
    )
