"""The serving benchmark's parts run and report what the documents read; the figures themselves are nobody's test."""

import json
import sys

import pytest

from containerize_deploy import benchmark_serving
from tests.containerize_deploy.colours import FILE


def test_a_short_soak_answers_everything():
    result = benchmark_serving.soak(share=500)
    assert (result["requests"], result["wrong_answers"], len(result["resident_mb"])) == (40, 0, 10)


def test_any_model_is_measured_and_the_other_parts_keep_their_figures(tmp_path, monkeypatch, capsys):
    target = tmp_path / "figures.json"
    target.write_text(json.dumps({"size": {"total": 1}}))
    options = ["--only", "soak", "--quick", "--model", str(FILE), "--out", str(target)]
    monkeypatch.setattr(sys, "argv", ["benchmark_serving", *options])
    monkeypatch.setenv("SCENES_MODEL", "")
    benchmark_serving.main()
    results = json.loads(target.read_text())
    assert results["size"] == {"total": 1} and results["soak"]["wrong_answers"] == 0


def test_a_model_that_is_not_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark_serving", "--model", "nowhere"])
    with pytest.raises(SystemExit, match="found no file at nowhere"):
        benchmark_serving.main()


def test_the_published_figures_are_whole():
    results = json.loads(benchmark_serving.PUBLISHED.read_text())
    assert {"latency", "start", "memory", "size"} <= set(results)
    for size in benchmark_serving.SIZES:
        sides = results["latency"][size]
        expected = sides["original"]["p50"] / sides["service"]["p50"]
        assert sides["times_faster_p50"] == pytest.approx(expected, rel=0.01)
