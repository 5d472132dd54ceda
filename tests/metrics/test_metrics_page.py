"""The example in docs/metrics.md runs, and its table agrees with the families."""

from __future__ import annotations

import asyncio
import re

from support.doc_examples import DOCS, needs_docs, run_example
from support.metric_values import values

from waterfill.metrics import FAMILIES


@needs_docs
def test_documentation_example_runs(monkeypatch, capsys):
    names = run_example("metrics.md", monkeypatch)
    found = values(names["metrics"])
    assert found["waterfill_requests_total", "retrieval", "default", "admitted"] == 1
    assert ("waterfill_drift_alarm", "texts", "vectors", "mean") in found
    assert "waterfill_in_flight {'limiter': 'retrieval'} 0" in capsys.readouterr().out
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(names["app"]({"type": "http", "headers": []}, None, send))
    assert b'waterfill_limit{limiter="retrieval"} 12.0' in sent[1]["body"]


@needs_docs
def test_documented_table_agrees_with_the_families():
    rows = re.findall(
        r"^\| `(waterfill_\w+)` \| (\w+) \| ([\w, ]*?) ?\| (\w+) \| (.+) \|$",
        (DOCS / "metrics.md").read_text(), re.MULTILINE,
    )  # fmt: skip
    assert rows == [
        (each.name, each.kind, ", ".join(each.labels), each.merge, each.meaning)
        for each in FAMILIES.values()
    ]
