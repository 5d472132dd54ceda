"""HTML representations in notebooks."""

from __future__ import annotations

from dataclasses import replace

from support.html_text import Words

from waterfill.reporting import chart_data
from waterfill.reporting import formatting as fmt


def test_tables_hold_the_values(result):
    analysis = Words(result.analysis._repr_html_()).text
    assert "4,800" in analysis
    assert f"{result.analysis.effective_rank:.1f}" in analysis
    assert "never change" in analysis
    plan = Words(result.codec.plan._repr_html_()).text
    for count in result.codec.plan.classes.values():
        assert f" {count}" in plan or f"{count} " in plan
    frontier = Words(result.frontier._repr_html_()).text
    assert all(str(trial.settings) in frontier for trial in result.frontier)


def test_chosen_trial_is_marked(result):
    page = result._repr_html_()
    assert Words(page).text.startswith("64-dimensional")
    assert page.count('class="marked"') == 1
    assert f"<strong>{result.best.settings}</strong>" in page


def test_edge_cases_have_no_nan(edge_cases):
    for result in edge_cases.values():
        for thing in (result, result.frontier, result.codec.plan, result.analysis):
            assert "nan" not in Words(thing._repr_html_()).text.split()


def test_text_of_users_is_escaped(result):
    page = replace(result, objective="recall < 0.5 & <b>fast</b>")._repr_html_()
    assert "recall &lt; 0.5 &amp; &lt;b&gt;fast" in page


def test_classes_sum_to_all_variance_and_bits(result, edge_cases):
    for one in (result, *edge_cases.values()):
        plan = one.codec.plan
        classes = chart_data.spectrum(plan).classes
        assert {c.relevance: c.dimensions for c in classes} == plan.classes
        assert abs(sum(c.share for c in classes) - 1) < 1e-6
        spent = sum(c.bits for c in classes)
        if plan.maker == "waterfill":
            assert abs(spent - min(8 * len(plan.groups), 16 * plan.d)) < 1e-6


def test_water_level_separates_the_classes(result):
    spectrum = chart_data.spectrum(result.codec.plan)
    for bar in spectrum.bars:
        assert (bar.share > spectrum.level) == (bar.relevance == "high")


def test_shannon_curve_agrees_with_the_bound_of_the_plan(result):
    plan = result.codec.plan
    bits, bounds = chart_data.shannon_curve(plan, 16 * len(plan.groups) / plan.d)
    assert abs(bounds[len(bits) // 2] - plan.shannon_bound) < 1e-9
    assert bounds == sorted(bounds, reverse=True)


def test_number_formats():
    assert fmt.number(1234.5) == "1,234"
    assert fmt.number(0.01234) == "0.0123"
    assert fmt.number(24.0) == "24"
    assert fmt.size(22).replace("\xa0", " ") == "22 bytes"
    assert fmt.size(1.5e9).replace("\xa0", " ") == "1.5 GB"
    assert fmt.seconds(0.00042).replace("\xa0", " ") == "420 µs"
    assert fmt.seconds(600).replace("\xa0", " ") == "10 min"
    assert fmt.count(2_500_000) == "2.5 million"
    assert fmt.count(1_234_567) == "1,234,567"
    assert fmt.rate(123_456) == "123,000"
    assert fmt.rate(None) == fmt.percent(float("nan")) == fmt.UNKNOWN
    assert fmt.smaller(0.5) == "2 times larger"
