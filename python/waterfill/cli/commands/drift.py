"""The command ``waterfill drift``: compare current vectors with those of a codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import waterfill as wf
from waterfill._util.validation import as_positive_int
from waterfill.cli.drift_baseline import (
    BaselineOptions,
    Current,
    NewMonitor,
    new_monitor,
    read_blocks,
    saved_monitor,
)
from waterfill.cli.errors import NOT_MET, UsageError
from waterfill.cli.inputs import Vectors, check_output, open_queries, open_stored
from waterfill.cli.options import Format, Key, OptionalMetric, QueriesFormat, QueriesKey, Seed
from waterfill.cli.output import Output, pairs
from waterfill.data.rows import Rows
from waterfill.drift.baseline import checked_alpha
from waterfill.drift.monitor_state import is_state
from waterfill.drift.window_comparison import MIN_BLOCKS

_MEASURE = "; --canary measures it"
_ACTIONS = {
    "fine": "keep the codec",
    "measure": "measure",
    "retrain": "retrain",
    "model": "re-embed",
}
_REEMBED = (
    "vectors of two models are not comparable; embed the stored data again, and train on that"
)


def _file(option: str, metavar: str, help_: str) -> Any:
    return typer.Option(option, metavar=metavar, help=help_, show_default=False)


def drift(
    out: Output,
    baseline: Annotated[
        Path,
        typer.Argument(
            metavar="BASELINE",
            help="Vectors from when the codec was trained, or a state written by --save.",
            show_default=False,
        ),
    ],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="Current vectors.", show_default=False)
    ],
    codec: Annotated[
        Path | None,
        _file(
            "--codec",
            "CODEC",
            "The codec in use, or its index (default: train one on half of BASELINE).",
        ),
    ] = None,
    code_bytes: Annotated[
        int | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help="Code bytes per vector of a codec that is trained here (default: 48).",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        Path | None, _file("--queries", "FILE", "Queries of the baseline; compared separately.")
    ] = None,
    new_queries: Annotated[Path | None, _file("--new-queries", "FILE", "Current queries.")] = None,
    canary: Annotated[
        bool,
        typer.Option(
            "--canary",
            help="Measure the recall lost to drift (about ten seconds) instead of estimating it.",
        ),
    ] = False,
    max_recall_loss: Annotated[
        float, typer.Option("--max-recall-loss", metavar="R", help="Acceptable loss of recall.")
    ] = 0.01,
    k: Annotated[
        int | None,
        typer.Option("-k", help="Neighbours per query (default: 10).", show_default=False),
    ] = None,
    metric: OptionalMetric = None,
    blocks: Annotated[
        Path | None,
        _file(
            "--blocks",
            "FILE",
            "Block label of each row of NEW, such as its session: .npy, or lines of text.",
        ),
    ] = None,
    baseline_blocks: Annotated[
        Path | None,
        _file("--baseline-blocks", "FILE", "Block labels of BASELINE; give both or none."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha",
            metavar="P",
            help="Probability of any false alarm, over all looks (default: 0.01).",
            show_default=False,
        ),
    ] = None,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors/--no-errors", help="Also test the codec's error, by encoding vectors."
        ),
    ] = True,
    save: Annotated[
        Path | None,
        _file(
            "--save",
            "STATE",
            "Write the baseline for the next look; may be BASELINE itself, if that is a state.",
        ),
    ] = None,
    seed: Seed = 0,
    key: Key = None,
    format: Format = None,
    queries_key: QueriesKey = None,
    queries_format: QueriesFormat = None,
) -> int:
    """Test vectors for drift since a codec was trained.

    The exit code is for CI and cron. 0: keep the codec; there is no drift, or
    no evidence that it costs more recall than acceptable. 3: act; --canary
    shows that retraining wins back more, or without it the error has grown so
    much that recall should be measured, or the embedding model has changed.
    1: the files are not sufficient, as with fewer than 8 blocks of rows. 2: a
    usage error. Drift alone is no reason to retrain.

    Example:
      waterfill drift base.npy today.npy --codec codec.wf --canary
      waterfill drift base.npy today.npy --save base.drift
      waterfill drift base.drift today.npy --save base.drift --json
    """
    policy = wf.drift.RetrainPolicy(max_recall_loss, persist=1, cooldown=0)
    baseline.stat()  # a missing file is an error before its ending is looked at
    saved = is_state(baseline)
    if save is not None:
        inputs = (new, codec, queries, new_queries, blocks, baseline_blocks)
        check_output(save, (*inputs, None if saved else baseline), "--save")
    if seed < 0:
        raise UsageError(f"--seed={seed} must be at least 0")
    options = BaselineOptions(
        canary=canary,
        k=None if k is None else as_positive_int("k", k),
        metric=None if metric is None else metric.value,
        alpha=None if alpha is None else checked_alpha(alpha),
        code_bytes=code_bytes,
        errors=errors,
        seed=seed,
    )
    files = {
        "codec": codec,
        "queries": queries,
        "baseline-blocks": baseline_blocks,
    }
    vectors = open_stored(new, key, format)
    current = Current(vectors, open_queries(new_queries, queries_key, vectors.d, queries_format))
    labels = read_blocks(blocks, vectors)
    with out.progress("measuring the baseline"):
        if saved:
            _refuse_options_of_vectors(baseline, options, files)
            made = saved_monitor(baseline, current, options)
        else:
            made = _new_monitor(
                open_stored(baseline, key, format),
                files,
                (queries_key, queries_format),
                current,
                options,
            )
    monitor, current_canary = made.monitor, made.canary
    with out.progress("comparing", vectors.n - len(made.excluded)) as vectors.advance:
        labels = None if labels is None else np.delete(labels, made.excluded)
        monitor.update(Rows(vectors).without(made.excluded).source, labels)
    if current.queries is not None:
        monitor.update_queries(current.queries)
    with out.progress("measuring recall" if canary else "testing"):
        report = monitor.report(current_canary)
    _require_judged(report, new)
    answer = _answer(report, policy)
    if save is not None:
        monitor.reset()  # the saved state counts this look but does not hold its vectors
        monitor.save(save)
    document = {
        "baseline": str(baseline),
        "new": str(new),
        "saved": None if save is None else str(save),
        "stand_in": made.stand_in,
        "excluded": len(made.excluded),
        **report.to_dict(),
        "decision": {name: getattr(answer, name) for name in ("answer", "reason")},
    }
    lines = _notes(codec, new, made) | _lines(report) | {"decision": str(answer)}
    out.show(document, pairs(str(new), lines))
    return answer.code


def _refuse_options_of_vectors(
    state: Path, options: BaselineOptions, files: Mapping[str, Path | None]
) -> None:
    """Refuse options that a saved state already has."""
    fixed = {
        **files,
        **{"code-bytes": options.code_bytes, "metric": options.metric, "alpha": options.alpha},
        "no-errors": None if options.errors else True,
    }
    for name, value in fixed.items():
        if value is not None:
            raise UsageError(
                f"--{name} applies to a baseline of vectors, but {state} is a saved state"
            )


def _new_monitor(
    vectors: Vectors,
    files: Mapping[str, Path | None],
    queries_source: tuple[str | None, str | None],
    current: Current,
    options: BaselineOptions,
) -> NewMonitor:
    codec, queries = files["codec"], files["queries"]
    if codec is not None and options.code_bytes is not None:
        raise UsageError(
            f"--code-bytes applies to training, and --codec {codec} is already trained; "
            "give one of them"
        )
    if current.queries is not None and queries is None:
        raise UsageError(f"--new-queries {current.queries.name} needs --queries to compare with")
    blocks = read_blocks(files["baseline-blocks"], vectors)
    key, format = queries_source
    query_rows = None if queries is None else open_queries(queries, key, vectors.d, format)
    return new_monitor(vectors, blocks, codec, query_rows, current, options)


@dataclass(frozen=True)
class _Answer:
    """The recommended action.

    Attributes
    ----------
    answer : {'fine', 'measure', 'retrain', 'model'}
    reason : str
    """

    answer: str
    reason: str

    @property
    def code(self) -> int:
        return 0 if self.answer == "fine" else NOT_MET

    def __str__(self) -> str:
        return f"{_ACTIONS[self.answer]}: {self.reason}"


def _answer(report: wf.drift.DriftReport, policy: wf.drift.RetrainPolicy) -> _Answer:
    decision = None if report.cost is None else policy.decide(report.cost)
    if not report.model.same:
        measured = report.cost is not None and report.cost.measured
        measurement = f"; {decision}" if measured else ""
        return _Answer("model", _REEMBED + measurement)
    finding = "drift" if report.drift else "no drift"
    if decision is None:
        unknown = f", at an unknown loss of recall{_MEASURE}"
        return _Answer("fine", finding + (unknown if report.drift else ""))
    if decision.retrain:
        return _Answer("retrain", decision.reason)
    if decision.measure:
        return _Answer("measure", f"{decision.reason} (--canary)")
    unsure = report.drift and not (report.cost and report.cost.measured)
    return _Answer("fine", f"{finding}; {decision.reason}{_MEASURE if unsure else ''}")


def _require_judged(report: wf.drift.DriftReport, new: Path) -> None:
    """Refuse to answer without a verdict on the vectors, on recall or on the model."""
    measured = report.cost is not None and report.cost.measured
    if not report.data.judged and not measured and report.model.same:
        raise ValueError(
            f"{new}: expected at least {MIN_BLOCKS} blocks of rows, got {report.data.blocks} "
            f"({report.data.rows:,} rows)"
        )


def _notes(codec: Path | None, new: Path, made: NewMonitor) -> dict[str, str]:
    """Say which rows and which codec the comparison could not use."""
    notes = {}
    if made.stand_in:
        notes["codec"] = (
            f"{codec} was trained on the rows of the baseline; a codec like it, trained on half of "
            "them, stands in"
        )
    if len(made.excluded):
        notes["left out"] = f"{len(made.excluded):,} rows of {new} that the codec was trained on"
    return notes


def _lines(report: wf.drift.DriftReport) -> dict[str, str]:
    """Return the report as text, by subject."""
    lines = {"model": str(report.model), "vectors": "\n".join(report.data.lines("vectors"))}
    if report.queries is not None:
        lines["queries"] = "\n".join(report.queries.lines("queries"))
    if report.error_ratio is not None:
        lines["error"] = f"{report.error_ratio:.2f} times the baseline's"
    if report.cost is not None:
        lines["cost"] = str(report.cost)
    bad_rows = report.bad_rows()
    return lines | ({"rows": bad_rows} if bad_rows else {})
