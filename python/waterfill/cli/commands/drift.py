"""The command that compares vectors of today with those that a codec was made for: drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill._util.validation import as_positive_int
from waterfill.cli.drift_baseline import BaselineOptions, Today, begin, read_blocks, resume
from waterfill.cli.errors import UNREACHED, UsageError
from waterfill.cli.inputs import Vectors, check_output, read_queries, read_stored
from waterfill.cli.options import Key, QueriesKey, Seed, UsualMetric
from waterfill.cli.output import Output, pairs
from waterfill.drift.comparison import FEWEST_BLOCKS
from waterfill.drift.state import is_state

_MEASURE = "; --canary measures it"
_TO_DO = {
    "fine": "keep the codec",
    "measure": "measure",
    "retrain": "retrain",
    "model": "embed again",
}
_REEMBED = "vectors of two models do not compare; embed what is stored again, and train on that"


def _file(option: str, metavar: str, words: str) -> Any:
    return typer.Option(option, metavar=metavar, help=words, show_default=False)


def drift(
    out: Output,
    baseline: Annotated[
        Path,
        typer.Argument(
            metavar="BASELINE",
            help="Vectors of the time of the codec, or a state that --save wrote.",
            show_default=False,
        ),
    ],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="Vectors of today.", show_default=False)
    ],
    codec: Annotated[
        Path | None,
        _file(
            "--codec",
            "CODEC",
            "The codec in use, or its index; by default one is trained on half of BASELINE.",
        ),
    ] = None,
    code_bytes: Annotated[
        int | None,
        typer.Option(
            "--code-bytes",
            metavar="N",
            help="Bytes of the code of a codec that is trained here (default: 48).",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        Path | None, _file("--queries", "FILE", "Queries of that time; they are compared apart.")
    ] = None,
    new_queries: Annotated[Path | None, _file("--new-queries", "FILE", "Queries of today.")] = None,
    canary: Annotated[
        bool,
        typer.Option(
            "--canary",
            help="Measure what drift costs in recall: some ten seconds; otherwise it is estimated.",
        ),
    ] = False,
    max_recall_loss: Annotated[
        float, typer.Option("--max-recall-loss", metavar="R", help="Recall that may be lost.")
    ] = 0.01,
    k: Annotated[
        int | None,
        typer.Option("-k", help="Neighbours of a query (default: 10).", show_default=False),
    ] = None,
    metric: UsualMetric = None,
    blocks: Annotated[
        Path | None,
        _file(
            "--blocks",
            "FILE",
            "What rows of NEW come by, as sessions: .npy, or a line of text for each row.",
        ),
    ] = None,
    baseline_blocks: Annotated[
        Path | None, _file("--baseline-blocks", "FILE", "The same of BASELINE: give both.")
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha",
            metavar="P",
            help="Probability of a false alarm, ever (default: 0.01).",
            show_default=False,
        ),
    ] = None,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors/--no-errors", help="Encode vectors, and judge the error of the codec."
        ),
    ] = True,
    save: Annotated[
        Path | None,
        _file(
            "--save",
            "STATE",
            "Write baseline and looks for the next time; may be BASELINE, if that is a state.",
        ),
    ] = None,
    seed: Seed = 0,
    key: Key = None,
    queries_key: QueriesKey = None,
) -> int:
    """Tell whether vectors are still like those of a codec.

    The exit code is for CI and cron. 0: keep the codec; there is no drift, or no sign that it costs
    more recall than may be lost. 3: act; --canary shows that retraining wins back more, or without
    it the error has grown so much that this is to be measured, or vectors come from another
    embedding model. 1: the files say nothing, as with fewer than 8 blocks of rows. 2: usage. Drift
    alone is no reason to retrain.

    Example:
      waterfill drift base.npy today.npy --codec codec.wf --canary
      waterfill drift base.npy today.npy --save base.drift
      waterfill drift base.drift today.npy --save base.drift --json
    """
    policy = wf.drift.RetrainPolicy(max_recall_loss, persist=1, cooldown=0)
    baseline.stat()  # a name that is not there gets Python's own error, whatever its ending
    kept = is_state(baseline)
    if save is not None:
        read = (new, codec, queries, new_queries, blocks, baseline_blocks)
        check_output(save, (*read, None if kept else baseline), "--save")
    if seed < 0:
        raise UsageError(f"--seed={seed} must be at least 0")
    asked = BaselineOptions(
        canary=canary,
        k=None if k is None else as_positive_int("k", k),
        metric=None if metric is None else metric.value,
        alpha=alpha,
        code_bytes=code_bytes,
        errors=errors,
        seed=seed,
    )
    files = {
        "codec": codec,
        "queries": queries,
        "baseline-blocks": baseline_blocks,
    }
    looked = read_stored(new, key)
    today = Today(looked, read_queries(new_queries, queries_key, looked.d))
    came = read_blocks(blocks, looked)
    with out.progress("measuring the baseline"):
        if kept:
            _require_no(baseline, asked, files)
            monitor, drawn = resume(baseline, today, asked)
        else:
            monitor, drawn = _begin(read_stored(baseline, key), files, queries_key, today, asked)
    with out.progress("comparing", looked.n) as looked.advance:
        monitor.update(looked, came)
    if today.queries is not None:
        monitor.update_queries(today.queries)
    with out.progress("measuring recall" if canary else "judging"):
        report = monitor.report(drawn)
    _require_judged(report, new)
    answer = _answer(report, policy)
    if save is not None:
        monitor.reset()  # the next look is at other vectors, and the second at this baseline
        monitor.save(save)
    document = {
        "baseline": str(baseline),
        "new": str(new),
        "saved": None if save is None else str(save),
        **report.to_dict(),
        "decision": {name: getattr(answer, name) for name in ("answer", "reason")},
    }
    out.show(document, pairs(str(new), _lines(report) | {"decision": str(answer)}))
    return answer.code


def _require_no(state: Path, asked: BaselineOptions, files: Mapping[str, Path | None]) -> None:
    """Refuse what a state has settled."""
    settled = {
        **files,
        **{"code-bytes": asked.code_bytes, "metric": asked.metric, "alpha": asked.alpha},
        "no-errors": None if asked.errors else True,
    }
    for name, value in settled.items():
        if value is not None:
            raise UsageError(f"--{name} is for a baseline of vectors, and {state} is a state")


def _begin(
    vectors: Vectors,
    files: Mapping[str, Path | None],
    queries_key: str | None,
    today: Today,
    asked: BaselineOptions,
) -> tuple[wf.DriftMonitor, wf.drift.Canary | None]:
    codec, queries = files["codec"], files["queries"]
    if codec is not None and asked.code_bytes is not None:
        raise UsageError(f"--code-bytes is for training, and {codec} is trained; give one of them")
    if today.queries is not None and queries is None:
        raise UsageError(f"--new-queries {today.queries.name} needs --queries to compare with")
    blocks = read_blocks(files["baseline-blocks"], vectors)
    known = None if queries is None else read_queries(queries, queries_key, vectors.d)
    return begin(vectors, blocks, codec, known, today, asked)


@dataclass(frozen=True)
class _Answer:
    """What to do.

    Attributes
    ----------
    answer : {'fine', 'measure', 'retrain', 'model'}
    reason : str
    """

    answer: str
    reason: str

    @property
    def code(self) -> int:
        return 0 if self.answer == "fine" else UNREACHED

    def __str__(self) -> str:
        return f"{_TO_DO[self.answer]}: {self.reason}"


def _answer(report: wf.drift.DriftReport, policy: wf.drift.RetrainPolicy) -> _Answer:
    decision = None if report.cost is None else policy.decide(report.cost)
    if not report.model.same:
        measured = report.cost is not None and report.cost.measured
        also = f"; {decision}" if measured else ""
        return _Answer("model", _REEMBED + also)
    seen = "drift" if report.drift else "no drift"
    if decision is None:
        unknown = f", and what it costs is not known{_MEASURE}"
        return _Answer("fine", seen + (unknown if report.drift else ""))
    if decision.retrain:
        return _Answer("retrain", decision.reason)
    if decision.measure:
        return _Answer("measure", f"{decision.reason} (--canary)")
    unsure = report.drift and not (report.cost and report.cost.measured)
    return _Answer("fine", f"{seen}; {decision.reason}{_MEASURE if unsure else ''}")


def _require_judged(report: wf.drift.DriftReport, new: Path) -> None:
    """Refuse to answer where nothing is known."""
    measured = report.cost is not None and report.cost.measured
    if not report.data.judged and not measured and report.model.same:
        raise ValueError(
            f"{new}: {report.data.rows:,} rows in {report.data.blocks} blocks tell nothing; at "
            f"least {FEWEST_BLOCKS} blocks are needed"
        )


def _lines(report: wf.drift.DriftReport) -> dict[str, str]:
    """Return the report, a line a finding."""
    lines = {"model": str(report.model), "vectors": "\n".join(report.data.lines("vectors"))}
    if report.queries is not None:
        lines["queries"] = "\n".join(report.queries.lines("queries"))
    if report.error_ratio is not None:
        lines["error"] = f"{report.error_ratio:.2f} times the baseline's"
    if report.cost is not None:
        lines["cost"] = str(report.cost)
    bad = report.bad_rows()
    return lines | ({"rows": bad} if bad else {})
