"""A tiny notebook in place of a training, a grid beside it, and a bucket in place of Amazon's."""

import json
import time
from pathlib import Path

import nbformat
import pytest

from train_model.sweep import command

PARAMETERS = """\
output_dir: str = ""  # folder for the results
backbone: str = "mobilenet"  # which network
learning_rate: float = 0.01  # step size
seed: int = 0  # of the chance
flags: str = ""  # folder whose files change what this notebook does"""

TRAIN = """\
import json, os, pathlib, signal, time
print("training", backbone, learning_rate, seed)
flag = pathlib.Path(flags)
if learning_rate == 0.5 and not (flag / "mended").exists():
    raise RuntimeError("diverged")
with (flag / f"begun-{learning_rate}").open("a") as begun:
    begun.write(".")
while (flag / "hold").exists() and not (flag / f"go-{learning_rate}").exists():
    (flag / f"beat-{learning_rate}").touch()
    time.sleep(0.1)"""

SCORE = """\
accuracy = (0.9 if backbone == "mobilenet" else 0.8) + learning_rate / 10 + seed / 100
metrics = {"validation_accuracy": accuracy, "learning_rate": learning_rate}
metrics["share"] = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
pathlib.Path(output_dir, "metrics.json").write_text(json.dumps(metrics))"""


@pytest.fixture
def study(tmp_path: Path):
    """Writes a grid file beside a notebook that stands in for a training; returns the grid's path."""

    def write(grid: str, score: str = SCORE) -> Path:
        cells = [
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(TRAIN),
            nbformat.v4.new_code_cell(score),
        ]
        python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), tmp_path / "train.ipynb")
        file = tmp_path / "grid.yml"
        file.write_text(f"notebook: train.ipynb\nfixed: {{flags: '{tmp_path}'}}\n{grid}")
        return file

    return write


@pytest.fixture
def run_sweep(capsys):
    """Runs the command line in this process, which spares its seconds of imports; gives the code and what it printed."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        code = command.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of moto's stand-in for AWS; s3fs and child processes find it by the environment."""
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").create_bucket(Bucket="sweeps")
    yield bucket
    bucket.objects.delete()  # moto keeps its buckets as long as this process lives
    bucket.delete()
    server.stop()


def statuses(out: Path) -> dict[str, str]:
    return {file.parent.name: json.loads(file.read_text())["status"] for file in out.glob("*/status.json")}


def wait_for(condition, what: str) -> None:
    for _ in range(900):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError(what)
