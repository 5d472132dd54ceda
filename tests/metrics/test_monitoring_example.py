"""Dashboard and alerts of examples/monitoring use exported metrics and their labels."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.metric_values import PATIENCE

from waterfill.metrics import FAMILIES

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="an installed package has no examples")

OF_PROMETHEUS = {"job", "instance", "le"}
NAME = re.compile(r"\bwaterfill_[a-z_]+\b")


def dashboard():
    return json.loads((FOLDER / "dashboard.json").read_text())


def rules():
    (group,) = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return group["rules"]


def targets():
    return [t for panel in dashboard()["panels"] for t in panel.get("targets", ())]


def queries():
    found = [target["expr"] for target in targets()]
    found += [each["expr"] for each in dashboard()["annotations"]["list"]]
    found += [str(each["query"]) for each in dashboard()["templating"]["list"]]
    return found + [rule["expr"] for rule in rules()]


def family_of(name):
    short = re.sub(r"_(bucket|sum|count)$", "", name)
    family = FAMILIES.get(name) or FAMILIES[short]
    assert (name == short) != (family.kind == "histogram")
    return family


def test_every_name_is_exported():
    names = {name for query in queries() for name in NAME.findall(query)}
    assert len(names) > 25
    for name in names:
        family_of(name)


def test_every_label_is_one_of_its_metric():
    for query in queries():
        for name, chosen in re.findall(r"(waterfill_[a-z_]+)\{([^}]*)\}", query):
            labels = set(re.findall(r"(\w+)\s*(?:=~|=|!=|!~)", chosen))
            assert labels <= set(family_of(name).labels) | OF_PROMETHEUS, (name, chosen)
        grouped = {
            label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")
        }
        known = {label for name in NAME.findall(query) for label in family_of(name).labels}
        assert grouped <= known | OF_PROMETHEUS, query


def test_counters_are_queried_by_rate():
    for query in queries():
        for name in NAME.findall(query):
            if family_of(name).kind == "counter":
                assert re.search(rf"(rate|increase)\({name}[{{[]", query), query


def test_the_dashboard_can_be_imported():
    found = dashboard()
    assert found["schemaVersion"] >= 36
    assert next(each["type"] for each in found["templating"]["list"]) == "datasource"
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(places)


def test_every_alert_has_annotations():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        labels = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert all(re.search(rf"\b{label}\b", rule["expr"]) for label in labels)


promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")


@promtool
@pytest.mark.parametrize(
    "arguments", [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]]
)
def test_promtool_accepts_the_rules(arguments):
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_promtool_accepts_the_names():
    import waterfill as wf
    from waterfill.metrics.prometheus import expose

    limiter = wf.Limiter(1)
    text, _ = expose(wf.Metrics(limiters=limiter))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_every_alert_has_a_test():
    tests = (FOLDER / "rules_test.yml").read_text()
    assert {each["alertname"] for case in yaml.safe_load(tests)["tests"]
            for each in case["alert_rule_test"] if each.get("exp_alerts")
            } == {rule["alert"] for rule in rules()}  # fmt: skip
