"""The service's code from the shell: `python -m containerize_deploy.classify`, and `test.py` that calls it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from containerize_deploy import classify
from containerize_deploy.lambda_function import lambda_handler
from containerize_deploy.local_runtime import INVOCATIONS, emulator, running

DEPLOY = Path(classify.__file__).parent
SCHEMA = json.loads((DEPLOY / "answer.schema.json").read_text())


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images, a folder of more, and what else lies about in people's folders."""
    for name in ("b.jpg", "a.png", "C.JPG", "more/d.webp"):
        path = tmp_path / "holiday" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(len(name))
        Image.fromarray(random.integers(0, 255, (50, 60, 3), np.uint8)).save(path)
    (tmp_path / "holiday" / "broken.jpg").write_bytes((tmp_path / "holiday" / "b.jpg").read_bytes()[:700])
    (tmp_path / "holiday" / "notes.txt").write_text("sunny")
    (tmp_path / "holiday" / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "holiday" / ".DS_Store").write_bytes(b"hidden")
    return tmp_path / "holiday"


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
    import base64

    path = folder / "b.jpg"
    classify.main(["--json", str(path)])
    (answer,) = json.loads(capsys.readouterr().out)
    service = lambda_handler({"image": base64.b64encode(path.read_bytes()).decode()}, None)
    assert {**answer, "model": service["model"]} == {**service, "file": str(path)}


def test_a_line_each_for_people(folder):
    command = [
        sys.executable,
        "-m",
        "containerize_deploy.classify",
        "b.jpg",
        "notes.txt",
        "http://127.0.0.1/x.jpg",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("b.jpg: ") and "%" in lines[0]
    assert lines[1].startswith("notes.txt: Not an image")
    assert lines[2] == "http://127.0.0.1/x.jpg: The address is not on the public internet."
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_without_images_there_is_nothing_to_say(tmp_path, capsys):
    assert classify.main(["--json", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_missing_model_is_a_sentence(tmp_path, monkeypatch, capsys):
    from containerize_deploy import scene_model

    monkeypatch.setattr(
        classify, "SceneModel", lambda threads: scene_model.SceneModel(tmp_path / "model.tflite")
    )
    assert classify.main(["photo.jpg"]) == 2
    assert capsys.readouterr().err.startswith("Expected the model model.tflite")


@pytest.fixture(scope="module")
def service():
    """The function at an address, as the container's emulator or a Function URL would have it."""
    with running() as (api, _), emulator(api) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "can't be used"),
        ({"FETCH_URLS": "perhaps"}, "The function did not start; its log, above, says why."),
    ],
)
def test_a_local_runtime_that_cannot_start_says_why(service, settings, said):
    command = [sys.executable, "-m", "containerize_deploy.local_runtime", "--port", service.split(":")[-1]]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings})
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr.splitlines()[-2:] and 'local_runtime.py", line' not in done.stderr


def test_test_py_calls_the_container_and_function_urls(service, folder):
    for address in (service + INVOCATIONS, service + "/"):
        command = [sys.executable, DEPLOY / "test.py", "--at", address]
        good = subprocess.run([*command, folder / "b.jpg"], capture_output=True, text=True)
        assert good.returncode == 0 and "%" in good.stdout
        bad = subprocess.run([*command, "http://10.0.0.1/photo.jpg"], capture_output=True, text=True)
        assert bad.returncode == 1 and "not_allowed" in bad.stdout


def test_test_py_names_the_file_that_is_not_there(service, folder):
    command = [sys.executable, DEPLOY / "test.py", "--at", service + INVOCATIONS, "nofile.jpg", "b.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 1
    assert done.stderr == "nofile.jpg: There is no such file.\n"
    assert done.stdout.startswith("b.jpg: ")


def test_both_tools_say_the_same_of_an_image(service, folder):
    command = [sys.executable, DEPLOY / "test.py", "--at", service + "/", "b.jpg"]
    asked = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    command = [sys.executable, "-m", "containerize_deploy.classify", "b.jpg"]
    assert asked.stdout == subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout


def test_names_that_are_no_text_are_sentences_too(service, folder):
    names = ["http://photos.example/\udcff", "\udcff.jpg"]
    for command in (["-m", "containerize_deploy.classify"], [DEPLOY / "test.py", "--at", service + "/"]):
        done = subprocess.run([sys.executable, *command, *names], capture_output=True, text=True, cwd=folder)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "half a character" in done.stdout
        assert "no such file" in done.stdout + done.stderr


def test_a_wrong_setting_is_a_sentence(folder):
    done = subprocess.run(
        [sys.executable, "-m", "containerize_deploy.classify", "b.jpg"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "FETCH_URLS": "false"},
    )
    assert done.returncode == 2
    assert done.stderr == "Expected FETCH_URLS to be 'on' or 'off', found 'false'.\n"


def test_test_py_says_when_nobody_answers(folder):
    command = [sys.executable, DEPLOY / "test.py", "--at", "http://127.0.0.1:1/", folder / "b.jpg"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no answer from http://127.0.0.1:1/" in done.stderr and "Traceback" not in done.stderr
