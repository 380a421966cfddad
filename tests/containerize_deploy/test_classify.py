"""The service's code from the shell: `python -m containerize_deploy.classify`."""

import base64
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from containerize_deploy import classify
from containerize_deploy.lambda_function import lambda_handler
from containerize_deploy.scene_model import MODEL_FILE, read_facts
from tests.containerize_deploy.colours import COLOURS, draw

SCHEMA = json.loads(MODEL_FILE.with_name("answer.schema.json").read_text())


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images, a folder of more, and what else lies about in people's folders."""
    holiday = tmp_path / "holiday"
    for name in ("b.jpg", "a.png", "C.JPG", "more/d.webp"):
        draw(holiday / name, (90, 120, 160), len(name))
    (holiday / "broken.jpg").write_bytes((holiday / "b.jpg").read_bytes()[:300])
    (holiday / "notes.txt").write_text("sunny")
    (holiday / "gone.jpg").symlink_to("nowhere.jpg")
    (holiday / ".DS_Store").write_bytes(b"hidden")
    return holiday


def run(*arguments: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs the command as people do."""
    return subprocess.run(
        [sys.executable, "-m", "containerize_deploy.classify", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_folder_as_json(folder, capsys):
    assert classify.main(["--json", str(folder)]) == 0
    answers = json.loads(capsys.readouterr().out)
    names = [answer.pop("file") for answer in answers]
    assert names == [str(folder / name) for name in sorted(os.path.relpath(name, folder) for name in names)]
    assert [Path(name).name for name in names] == [
        "C.JPG", "a.png", "b.jpg", "broken.jpg", "gone.jpg", "d.webp", "notes.txt",
    ]  # fmt: skip
    codes = {
        Path(name).name: answer["error"]["code"]
        for name, answer in zip(names, answers, strict=True)
        if "error" in answer
    }
    assert codes == {"broken.jpg": "undecodable", "gone.jpg": "not_found", "notes.txt": "not_an_image"}
    one_of_many = {"$ref": "#/$defs/classifications/properties/answers", "$defs": SCHEMA["$defs"]}
    Draft202012Validator(one_of_many).validate(answers)


def test_the_shell_says_what_the_service_says(folder, capsys):
    path = folder / "b.jpg"
    classify.main(["--json", str(path)])
    (answer,) = json.loads(capsys.readouterr().out)
    service = lambda_handler({"image": base64.b64encode(path.read_bytes()).decode()}, None)
    assert {**answer, "model": service["model"]} == {**service, "file": str(path)}


def test_a_line_each_for_people(folder):
    done = run("b.jpg", "notes.txt", "http://127.0.0.1/x.jpg", folder=folder)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("b.jpg: ") and "%" in lines[0]
    assert lines[1].startswith("notes.txt: Not an image")
    assert lines[2] == "http://127.0.0.1/x.jpg: The address is not on the public internet."
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_without_images_there_is_nothing_to_say(tmp_path, capsys):
    assert classify.main(["--json", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("place", [".", "models/scene-classifier-model.tflite"])
def test_a_runs_folder_or_its_file_answers(colour_run, colour_images, capsys, place):
    assert classify.main(["--model", str(colour_run / place), str(colour_images / "草原")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all("/草原/" in line and ": 草原 " in line for line in lines)


def test_a_table_is_written_beside_what_is_printed(colour_run, colour_images, tmp_path, capsys):
    target = tmp_path / "answers.csv"
    classify.main(["--model", str(colour_run), "--json", "--csv", str(target), str(colour_images)])
    answers = json.loads(capsys.readouterr().out)
    with target.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        *("file", "label", "in_scope", "score"),
        *(f"probability_{label}" for label in COLOURS),
        "error",
    ]
    assert [(row["file"], row["label"]) for row in rows] == [(a["file"], a["label"]) for a in answers]


def test_links_to_pipes_and_devices_are_passed_over(folder, capsys):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to("pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "picture.jpg").symlink_to("b.jpg")
    classify.main(["--json", str(folder)])
    names = {Path(answer["file"]).name for answer in json.loads(capsys.readouterr().out)}
    assert not names & {"pipe.jpg", "link.jpg", "zero.jpg"}
    assert {"picture.jpg", "gone.jpg"} <= names


def test_names_and_labels_are_printed_escaped(folder, tmp_path, capsys):
    """A name could clear the screen, or pretend to be another line."""
    shutil.copy(folder / "b.jpg", folder / "more" / "\x1b[2J\nc.jpg: coast 100%\u202egpj.jpg")
    assert classify.main([str(folder / "more")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and r"\x1b[2J\nc.jpg: coast 100%\u202egpj.jpg: " in lines[0]
    assert classify.printable("naïve 写真\u00a0क्\u200dष.jpg") == "naïve 写真\u00a0क्\u200dष.jpg"


def test_names_that_are_no_text_are_sentences_too(folder):
    done = run("http://photos.example/\udcff", "\udcff.jpg", folder=folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "The URL has" in done.stdout and "No such file" in done.stdout


def test_a_copy_of_the_model_has_the_other_threshold_and_else_the_same_facts(tmp_path):
    target = tmp_path / "copy.tflite"
    assert classify.main(["--set-threshold", "-1.5", "--to", str(target)]) == 0
    before, after = (read_facts(path.read_bytes()) for path in (MODEL_FILE, target))
    assert after["score_threshold"] == -1.5
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed == {"score_threshold", "threshold"} and "by hand" in after["threshold"]["read_off"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--model", "nowhere", "b.jpg"], 2, "found no file at nowhere"),
        (["--model", "more", "b.jpg"], 2, "Expected more/models/scene-classifier-model.tflite"),
        (["--model", "notes.txt", "b.jpg"], 2, "found the file notes.txt"),
        (["--csv", "more", "b.jpg"], 2, "Expected --csv to name a file"),
        (["--csv", "notes.txt/a.csv", "b.jpg"], 2, "can't be written"),
        (["--evaluate", "nowhere"], 2, "found no folder at nowhere"),
        (["--evaluate", "more", "b.jpg"], 2, "one of them only"),
        (["--set-threshold", "nan", "--to", "a.tflite"], 2, "Expected a number"),
        (["--set-threshold", "1", "--to", "notes.txt"], 2, "a .tflite file to write"),
        (["--set-threshold", "1"], 2, "--to together"),
        ([], 2, "Expected images"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(folder, arguments, code, said, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    try:
        assert classify.main(arguments) == code
    except SystemExit as error:  # argparse's own way out
        assert error.code == code
    assert said in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "sunny"


def test_a_wrong_setting_is_a_sentence(folder):
    done = run("b.jpg", folder=folder, FETCH_URLS="false")
    assert done.returncode == 2
    assert done.stderr == "Expected FETCH_URLS to be 'on' or 'off', found 'false'.\n"
