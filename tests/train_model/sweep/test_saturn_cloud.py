"""The Saturn Cloud guide, command by command as far as it goes without an account, and the recipes."""

import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.train_model.sweep.test_command import FILES
from tests.train_model.sweep.test_engine import SCHEDULER, WORKER

REPOSITORY = Path(__file__).parents[3]
GUIDE = (REPOSITORY / "train_model" / "sweep" / "saturn_cloud.md").read_text()
RECIPES = {name: REPOSITORY / ".saturn" / f"{name}.yaml" for name in ("jupyter", "job")}

# Top-level keys and those of `spec` in the recipes of Saturn Cloud's documentation and examples.
KEYS = {"schema_version", "type", "spec"}
SPEC = {
    "name",
    "description",
    "image",
    "instance_type",
    "disk_space",
    "auto_shutoff",
    "start_ssh",
    "scale",
    "command",
}
SPEC |= {
    "working_directory",
    "git_repositories",
    "environment_variables",
    "start_script",
    "use_spot_instance",
}


def blocks(heading: str) -> list[str]:
    """The commands under a heading of the guide that run without an account."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```bash\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)


@pytest.fixture
def shell(tmp_path):
    """Runs commands of the guide from the top of the repository, with its places replaced by the test's."""
    pytest.importorskip("saturn_client")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    places = {
        "train_model/sweep/study_grid.yml": str(tmp_path / "grid.yml"),
        "build/saturn": str(tmp_path / "saturn"),
        "s3://your-bucket": "s3://sweeps",
    }

    def run(*commands: str, succeeds: bool = True) -> str:
        script = "\n".join(["set -e", *blocks("Once"), *commands])
        for place, replacement in places.items():
            script = script.replace(place, replacement)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_a_sweep_goes_through_sc_batch_and_into_a_bucket(study, tmp_path, bucket, shell):
    study("grid: {learning_rate: [0.1, 0.5]}")
    out = tmp_path / "saturn" / "study"
    (rehearsal,) = blocks("A sweep, rehearsed at home")
    *before, collect = rehearsal.splitlines()
    printed = shell(*before)
    assert re.search(r"completed +0 +file://\S+/learning_rate=0.1 ", printed)  # sc summarize-batch
    assert re.search(r"error +1 +file://\S+/learning_rate=0.5 ", printed)
    files = {str(path.relative_to(out / "learning_rate=0.1")) for path in out.glob("learning_rate=0.1/**/*")}
    assert files == {"status_code", "stdout", "stderr", "results", *(f"results/{name}" for name in FILES)}
    assert "failed in cell [3]" in (out / "learning_rate=0.5" / "stdout").read_text()
    printed = shell(collect, succeeds=False)
    assert "1 of 2 points are not done" in printed
    assert "RuntimeError: diverged" in printed

    assert "Wrote 1 runs" in shell(before[0])  # only what failed
    assert "learning_rate=0.1,complete" in (out / "points.csv").read_text()

    many, collect = blocks("The same on many machines")
    assert "Wrote 2 runs" in shell(*many.splitlines()[:1])
    batch = json.loads((tmp_path / "saturn" / "batch.json").read_text())
    assert "nprocs" not in batch  # sc split fills in one a GPU
    for run in batch["runs"]:  # in place of Saturn Cloud's machines: what they copy to the bucket
        point = run["remote_output_path"].removeprefix("s3://sweeps/study/")
        for file in (out / point / "results").iterdir():
            bucket.upload_file(str(file), f"study/{point}/results/{file.name}")
    shell(collect, succeeds=False)
    table = bucket.Object("study/points.csv").get()["Body"].read().decode()
    assert table == (out / "points.csv").read_text()


@pytest.mark.skipif(
    not (REPOSITORY / ".git").exists(), reason="a copy without history has nothing to archive"
)
def test_the_code_that_travels_can_be_installed(tmp_path, shell):
    many, _ = blocks("The same on many machines")
    shell(*many.splitlines()[1:])
    code = tmp_path / "saturn" / "code"
    assert (code / "pyproject.toml").is_file()
    assert (code / "train_model" / "sweep" / "command.py").is_file()
    assert not (code / ".venv").exists()


@pytest.fixture
def saturn():
    """Stands in for Saturn Cloud's API: says that it is there, and takes recipes. Returns its address and those."""
    recipes = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({"version": "2026.02.01"})

        def do_PUT(self):
            assert self.path == "/api/recipes"
            recipe = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            recipes.append(recipe)
            self.answer(recipe | {"spec": recipe["spec"] | {"owner": "us/me"}})

        def answer(self, content):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", recipes
        server.shutdown()


@pytest.mark.slow
def test_sc_split_makes_a_job_that_fetches_the_code_and_works_through_the_list(tmp_path, shell, saturn):
    address, recipes = saturn
    code, there = tmp_path / "saturn" / "code", tmp_path / "machine"
    code.mkdir(parents=True)
    (code / "marker.txt").write_text("the code")
    runs = [{"cmd": f"echo {n}", "remote_output_path": f"file://{tmp_path}/out/{n}"} for n in range(3)]
    batch = {"nprocs": 1, "remote_output_path": f"file://{tmp_path}/out", "runs": runs}
    (tmp_path / "saturn" / "batch.json").write_text(json.dumps(batch))
    (split,) = re.findall(r"^sc split .*$", GUIDE, re.MULTILINE)
    split = split.replace("/home/jovyan/scene-classifier", str(there))
    split = split.replace("/home/jovyan/commands", str(tmp_path / "commands"))
    api = f"export SATURN_BASE_URL={address}"
    # An account comes with a place for uploads; here it is a folder.
    shell(api, f"{split} --batch-size 2 --file-syncs-base-dir-url file://{tmp_path}/synced/")
    shell(api, "sc apply build/saturn/commands/recipe.yaml", "sc apply .saturn/jupyter.yaml")
    job, server = recipes
    assert (job["spec"]["scale"], server["type"]) == (2, "workspace")

    fetch, install = job["spec"]["start_script"].split("### END", 1)
    assert "pip install" in install and "pip install" not in fetch
    shell(fetch)
    assert (there / "marker.txt").read_text() == "the code"
    commands = json.loads(job["spec"]["command"])
    assert [shlex.split(command)[:2] for command in commands] == [["sc", "batch"]] * 2
    shell(*commands)
    assert [Path(tmp_path, "out", str(n), "stdout").read_text() for n in range(3)] == ["0\n", "1\n", "2\n"]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_have_todays_form_and_name_what_exists(name):
    recipe = yaml.safe_load(RECIPES[name].read_text())
    assert set(recipe) == KEYS
    assert set(recipe["spec"]) <= SPEC
    assert recipe["type"] == {"jupyter": "workspace", "job": "job"}[name]
    for file in re.findall(r"-r (\S+)", recipe["spec"]["start_script"]):
        assert (REPOSITORY / file).is_file()
    for extra in re.findall(r"\.\[(.*?)\]", recipe["spec"]["start_script"] + GUIDE):
        project = (REPOSITORY / "pyproject.toml").read_text()
        assert all(f"\n{one} = [" in project for one in extra.split(","))


def test_every_command_of_the_guide_is_run_or_needs_an_account():
    tried = [
        line
        for heading in re.findall(r"^## (.*)$", GUIDE, re.MULTILINE)
        for block in blocks(heading)
        for line in block.splitlines()
    ]
    known = ("python -m train_model.sweep", "sc ", "mkdir", "git", "export")
    sweeps = [line for line in tried if line.startswith(known)]
    dask = [f"{command.format(port=8786)} &" for command in (SCHEDULER, WORKER)]  # test_engine.py runs these
    assert sorted(tried) == sorted(sweeps + dask)
    for block in re.findall(r"([^\n]*)\n\n```bash account\n", GUIDE):
        assert re.search(r"\*Needs (an account|a GPU):\*$", block)
    account = re.findall(r"^```bash account\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    for name in re.findall(r"\.saturn/\S+\.yaml", "".join(account)):
        assert (REPOSITORY / name).is_file()


def test_a_run_takes_the_gpu_of_its_number(study, tmp_path, monkeypatch, run_sweep):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setenv("SATURN_RUN_LOCAL_RANK", "1")
    monkeypatch.setenv("SATURN_RUN_LOCAL_RESULTS_DIR", str(tmp_path / "results"))
    code, printed = run_sweep("--grid", study(""), "--point", "only")
    assert code == 0, printed
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert metrics["share"]["CUDA_VISIBLE_DEVICES"] == "5"
