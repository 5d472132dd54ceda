"""A capacity report as a text table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waterfill.loadtest.figures import Step
    from waterfill.loadtest.report import CapacityReport

_HEAD = ("offered", "flight", "answers", "goodput", "p50", "p99", "errors", "verdict")
_WIDTHS = (7, 6, 8, 8, 8, 8, 6)


def table(report: CapacityReport) -> str:
    """Return the results, then one line for each step."""
    lines = [
        f"{_number(report.rate)} requests per second ({report.slo})",
        f"limit {report.limit} in flight, from {report.floor} to {report.ceiling}; "
        f"unloaded {_time(report.unloaded)}, throughput {_number(report.throughput)} per second",
        "",
        _line(_HEAD),
        *map(line_of, report.steps),
        "",
        f"{report.requests:,} requests in {report.seconds:,.0f} s, seed {report.seed}"
        + ("" if report.complete else "; INCOMPLETE"),
        *(f"note: {note}" for note in report.notes),
    ]
    return "\n".join(lines)


def line_of(step: Step) -> str:
    """Return the line of one step."""
    return _line(_cells(step))


def _cells(step: Step) -> tuple[str, ...]:
    return (
        "-" if step.offered is None else _number(step.offered),
        "-" if step.in_flight is None else str(step.in_flight),
        _number(step.achieved),
        _number(step.goodput),
        _time(step.p50),
        _time(step.p99),
        _share(step.errors + step.refused),
        step.verdict + (f": {step.note}" if step.note else ""),
    )


def _line(cells: tuple[str, ...]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(cells[:-1], _WIDTHS, strict=True)]
    return " ".join([*numbers, f" {cells[-1]}"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:,.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def _share(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.2g} %"
