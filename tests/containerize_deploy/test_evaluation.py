"""`classify --evaluate`: accuracy with intervals, confusions, what is kept and refused, and the threshold to keep a share."""

import csv
import json
import re
import unicodedata

import numpy as np
import pytest
from scipy.stats import binomtest

from containerize_deploy import classify, evaluation
from containerize_deploy.scene_model import SceneModel
from tests.containerize_deploy.colours import COLOURS, OTHER_COLOUR, draw


def evaluate(run, images, capsys, *options) -> dict:
    assert classify.main(["--model", str(run), "--evaluate", str(images), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_shares_have_wilson_intervals():
    for count, of in ((0, 4), (3, 7), (115, 120), (50, 50)):
        expected = binomtest(count, of).proportion_ci(method="wilson")
        share = evaluation.share(np.arange(of) < count)
        assert (share["low"], share["high"]) == pytest.approx((expected.low, expected.high), abs=1e-6)
        assert share["share"] == count / of


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9, 0.95, 1.0])
def test_the_threshold_keeps_the_share_with_a_margin_and_no_more_than_it_must(keep):
    scores = np.array([0.1, 0.4, 0.45, 1.0, 2.0, 2.2, 3.0, 5.0, 7.0, 9.0])
    threshold = evaluation.threshold_to_keep(scores, keep)
    kept = [score for score in scores if score >= threshold]
    assert len(kept) / len(scores) >= keep > (len(kept) - 1) / len(scores)
    assert min(abs(score - threshold) for score in scores) >= 0.005  # no image lies on it


def test_each_class_and_all_are_counted(colour_run, colour_images, capsys):
    """Labels of any script, images in subfolders, and a folder of other things that is no class."""
    mistaken = colour_images / "草原" / "mistaken.jpg"
    draw(mistaken, COLOURS["गाँव"])
    report = evaluate(colour_run, colour_images, capsys)
    assert list(report["classes"]) == list(COLOURS)
    assert {label: counts["of"] for label, counts in report["classes"].items()} == dict.fromkeys(
        COLOURS, 4
    ) | {"草原": 5}
    assert (report["accuracy"]["count"], report["accuracy"]["of"]) == (20, 21)
    assert report["macro_average"] == pytest.approx((4 + 4 / 5) / 5)
    assert report["confusions"] == [{"class": "草原", "label": "गाँव", "count": 1}]
    assert report["threshold"]["kept"]["count"] == 21
    assert (report["threshold"]["refused"]["count"], report["threshold"]["refused"]["of"]) == (4, 4)
    classes = {answer["class"] for answer in report["answers"]}
    assert len(report["answers"]) == 25 and classes == {*COLOURS, "other"}
    assert report["model"]["version"] == "0.1"


def test_folders_match_labels_in_either_unicode_form(colour_run, tmp_path, capsys):
    """macOS writes é as two characters."""
    name = unicodedata.normalize("NFD", "café crème")
    assert name != "café crème"
    draw(tmp_path / "mac" / name / "a.jpg", COLOURS["café crème"])
    assert evaluate(colour_run, tmp_path / "mac", capsys)["classes"]["café crème"]["count"] == 1


def test_lines_for_people_say_it_all(colour_run, colour_images, capsys):
    draw(colour_images / "a folder\x1b[31m more" / "a.jpg", OTHER_COLOUR)
    (colour_images / "草原" / "notes.txt").write_text("sunny")
    assert classify.main(["--model", str(colour_run), "--evaluate", str(colour_images), "--keep", "0.9"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["images", "correct", "accuracy", "95", "%", "interval", "kept", "class"]
    assert "     4        4    100.0%  51.0% to 100.0%   100.0%  2 Straßen" in lines
    text = "\n".join(lines)
    assert "refuses 100.0% of 4 images of other things (95 % interval 51.0% to 100.0%)" in text
    assert "The threshold for 90.0% of these images" in text
    assert r"the model has no such label: a folder\x1b[31m more." in text
    assert "can't be used: 1 files" in text
    assert f"--model '{colour_run}' --set-threshold=" in text  # a command to paste, spaces and all


def test_the_suggested_command_gives_a_file_with_that_threshold(colour_run, colour_images, tmp_path, capsys):
    suggested = evaluate(colour_run, colour_images, capsys, "--keep", "0.5")["suggested"]
    copy = tmp_path / "stricter.tflite"
    arguments = ["--model", str(colour_run), f"--set-threshold={suggested['value']:.6f}", "--to", str(copy)]
    assert classify.main(arguments) == 0
    assert SceneModel(copy).score_threshold == suggested["value"]
    capsys.readouterr()
    assert evaluate(copy, colour_images, capsys)["threshold"]["kept"] == suggested["kept"]
    assert suggested["kept"]["count"] == 10


def test_a_table_has_a_row_for_each_image(colour_run, colour_images, tmp_path, capsys):
    (colour_images / "other" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    target = tmp_path / "answers.csv"
    report = evaluate(colour_run, colour_images, capsys, "--csv", str(target))
    with target.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [answer["file"] for answer in report["answers"]]
    first = next(row for row in rows if row["class"] == "गाँव")
    assert (first["label"], first["in_scope"], first["error"]) == ("गाँव", "True", "")
    assert float(first["probability_गाँव"]) > 0.9
    (broken,) = (row for row in rows if row["file"].endswith("broken.jpg"))
    assert broken["label"] == "" and broken["error"]


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["desert", "swamp"], r"Expected folders of the model's labels \(2 Straßen, .*found desert, swamp\."),
        (["test", "train"], r"Name one of the splits, as in .*test\."),
        ([], "found no folders"),
        (["草原"], "Expected images in the class folders, found none that can be used"),
    ],
)
def test_nothing_to_evaluate_is_a_sentence(colour_run, tmp_path, capsys, folders, said):
    for name in ("", *folders):
        (tmp_path / "images" / name).mkdir(exist_ok=True, parents=True)
    assert classify.main(["--model", str(colour_run), "--evaluate", str(tmp_path / "images")]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert re.search(said, message)


def test_other_is_named_as_the_data_name_it():
    from data_prep_eda.dataset import OTHER

    assert evaluation.OTHER == OTHER
