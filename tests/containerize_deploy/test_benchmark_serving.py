"""The serving benchmark's parts run and report what they say; the figures themselves are nobody's test."""

import json

from containerize_deploy import benchmark_serving


def test_a_short_soak_answers_everything():
    result = benchmark_serving.soak(requests=24)
    assert (result["requests"], result["wrong_answers"]) == (24, 0)
    assert len(result["p50_ms_by_tenth"]) >= 2


def test_the_steps_of_a_request_are_timed():
    from containerize_deploy.scene_model import SceneModel

    steps = benchmark_serving._steps(SceneModel(), benchmark_serving.image_file((320, 240)), rounds=2)
    assert set(steps) == {"decode", "resize", "invoke"}


def test_the_published_figures_are_whole():
    results = json.loads(benchmark_serving.PUBLISHED.read_text())
    assert {"latency", "start", "memory", "size"} <= set(results)
    for size in benchmark_serving.SIZES:
        sides = results["latency"][size]
        assert sides["times_faster_p50"] == round(sides["original"]["p50"] / sides["service"]["p50"], 2)
