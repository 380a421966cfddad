"""The serving benchmark's parts run and report what the documents read; the figures themselves are nobody's test."""

import json
import os
import sys
import time

import pytest

from containerize_deploy import benchmark_serving
from tests.containerize_deploy.colours import FILE


def test_sides_take_turns_and_their_medians_are_compared():
    done = []
    sides = {"quick": lambda: done.append("quick"), "slow": lambda: (done.append("slow"), time.sleep(0.02))}
    measured = benchmark_serving.in_turns(sides, turns=3)
    assert done == ["quick", "slow"] * 5
    assert measured["slow"]["p50"] > 20 > measured["quick"]["p50"] and measured["times_faster_p50"] > 1


def test_any_model_is_measured_and_the_other_parts_keep_their_figures(tmp_path, monkeypatch, capsys):
    target = tmp_path / "figures.json"
    target.write_text(json.dumps({"size": {"total": 1}}))
    monkeypatch.setattr(benchmark_serving, "SIZES", {"256x256": (256, 256)})
    monkeypatch.setattr(benchmark_serving, "original_service", lambda runtime: len)
    options = ["--only", "latency", "--quick", "--model", str(FILE), "--out", str(target)]
    monkeypatch.setattr(sys, "argv", ["benchmark_serving", *options])
    monkeypatch.setenv("SCENES_MODEL", "")
    benchmark_serving.main()
    results = json.loads(target.read_text())
    assert results["size"] == {"total": 1} and results["latency"]["256x256"]["service"]["p50"] > 0
    assert os.environ["SCENES_MODEL"] == str(FILE)  # what the other parts' processes inherit


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
