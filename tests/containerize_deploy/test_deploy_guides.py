"""The guides of containerize_deploy, followed: their commands are taken out of the pages and run, in order.

The AWS CLI talks to a stand-in of AWS on this machine (moto), `docker` is a stand-in that records what it is
told and runs the function without a container, and Python is Python. The pages are run in a copy of the
repository's top folder, so that nothing here is written to.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from containerize_deploy import fetching
from containerize_deploy.lambda_function import lambda_handler

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "containerize_deploy"

# Blocks that are not run, by how they begin, and why.
NOT_RUN = {
    "grep -v '^#' containerize_deploy/sample_image_urls.txt": "needs the internet",
    "python -m containerize_deploy.local_runtime": "runs until interrupted; the stand-in for docker runs it",
    "aws cloudformation deploy": "moto does not expand SAM templates; test_template.py does",
    "aws cloudformation describe-stacks": "follows the one above",
    'eval "$(aws configure export-credentials': "a Function URL only answers on AWS",
    "python containerize_deploy/test.py --at": "a Function URL only answers on AWS",
}

DOCKER = """#!{python}
# Stands in for docker: records the command, and runs the function where a container would.
import json, os, signal, subprocess, sys
folder, command = os.path.dirname(__file__), sys.argv[1:]
with open(folder + "/docker.log", "a") as log:
    log.write(json.dumps(command) + "\\n")
running = folder + "/running.json"
if command[0] == "login":
    assert sys.stdin.read().strip(), "no password came through the pipe"
elif command[0] == "run":
    port = command[command.index("--publish") + 1].split(":")[1]
    service = subprocess.Popen(
        [sys.executable, "-m", "containerize_deploy.local_runtime", "--port", port],
        stdout=subprocess.PIPE, stderr=open(folder + "/service.log", "w"), start_new_session=True,
    )
    assert service.stdout.readline().startswith(b"Listening")
    json.dump(service.pid, open(running, "w"))
elif command[0] == "stop":
    os.killpg(json.load(open(running)), signal.SIGTERM)
    os.remove(running)
elif command[0] == "push":  # what the registry would learn from it
    name, tag = command[1].split("/")[1].split(":")
    part = {{"digest": "sha256:" + "0" * 64, "size": 1, "mediaType": "application/octet-stream"}}
    manifest = json.dumps({{
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": part, "layers": [part], "annotations": {{"tag": tag}},
    }})
    subprocess.run(["aws", "ecr", "put-image", "--repository-name", name, "--image-tag", tag,
                    "--image-manifest", manifest], check=True, stdout=subprocess.DEVNULL)
"""


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DEPLOY / page).read_text(), re.MULTILINE | re.DOTALL)


def reason_not_to_run(block: str) -> str | None:
    return next((reason for start, reason in NOT_RUN.items() if block.startswith(start)), None)


@pytest.fixture
def workspace(tmp_path) -> Path:
    """The repository's top folder, as far as the guides touch it."""
    folder = tmp_path / "scene-classifier"
    shutil.copytree(DEPLOY, folder / "containerize_deploy", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data_prep_eda", "train_model", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def docker(tmp_path):
    """A folder with the stand-in for docker; stops what it left running."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER.format(python=sys.executable))
    (folder / "docker").chmod(0o755)
    yield folder
    if (folder / "running.json").exists():
        os.killpg(json.loads((folder / "running.json").read_text()), 9)


def follow(page: str, workspace: Path, docker: Path, **environment: str) -> dict[str, str]:
    """Runs a page's shell blocks in one shell, up to the first failure.

    Returns:
        First line of each block to what it printed.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    wanted = [block for block in blocks(page, "bash") if not reason_not_to_run(block)]
    caller = workspace / "containerize_deploy" / "test.py"
    caller.write_text(caller.read_text().replace(":9000", f":{port}"))
    script = "set -euo pipefail\n" + "".join(f"echo '@@@ {n}'\n{block}" for n, block in enumerate(wanted))
    done = subprocess.run(
        ["bash", "-c", script.replace(":9000", f":{port}")],
        cwd=workspace,
        env={**os.environ, "PATH": f"{docker}:{os.environ['PATH']}", "HOME": str(docker), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    printed = done.stdout.split("@@@ ")[1:]
    assert done.returncode == 0, f"{wanted[len(printed) - 1]}{done.stdout}{done.stderr}"
    return {
        block.splitlines()[0]: text.partition("\n")[2] for block, text in zip(wanted, printed, strict=True)
    }


def told(docker: Path) -> list[list[str]]:
    """What docker was told."""
    return [json.loads(line) for line in (docker / "docker.log").read_text().splitlines()]


def after(results: dict[str, str], start: str) -> str:
    """What the block that begins so printed."""
    (text,) = (text for line, text in results.items() if line.startswith(start))
    return text


def test_containerize(workspace, docker):
    results = follow("containerize.md", workspace, docker)
    answer = json.loads(after(results, 'echo "{\\"image\\"'))
    assert answer["label"] in ("coast", "forest", "mountain")
    assert "%" in after(results, "python containerize_deploy/test.py")
    assert "%" in after(results, "python -m containerize_deploy.classify")

    commands = told(docker)
    assert [command[0] for command in commands] == ["build", "build", "run", "logs", "stop"]
    for build, platform in zip(commands[:2], ("linux/amd64", "linux/arm64"), strict=True):
        assert "--provenance=false" in build
        assert build[build.index("--platform") + 1] == platform
        assert (ROOT / build[build.index("--file") + 1]).is_file()
        assert build[-1] == "."
    run = commands[2]
    assert "--read-only" in run and run[-1] == "scene-classifier"


@pytest.fixture
def aws(monkeypatch):
    """A stand-in of AWS; yields the environment that leads the AWS CLI to it."""
    from moto.awslambda_simple.models import LambdaSimpleBackend
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("MOTO_LAMBDA_STUB_ECR", "false")  # a function's image has to be in the registry
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()

    def moto(path: str, body: dict | None = None) -> None:
        connection = http.client.HTTPConnection(host, port)
        connection.request(
            "POST", f"/moto-api/{path}", json.dumps(body or {}), {"Content-Type": "application/json"}
        )
        assert connection.getresponse().status in (200, 201)
        connection.close()

    moto("reset")
    moto("config", {"lambda": {"use_docker": False}, "batch": {"use_docker": True}})

    # moto can't run an image; the handler answers in its place, to what the AWS CLI sent. The internet is a file.
    def invoke(self, function, qualifier, body, headers, response_headers) -> bytes:
        return json.dumps(lambda_handler(json.loads(body), None)).encode()

    photograph = (ROOT / "data_prep_eda/sample/mountain/mountain_00.jpg").read_bytes()
    monkeypatch.setattr(LambdaSimpleBackend, "invoke", invoke)
    monkeypatch.setattr(fetching, "fetch", lambda url, policy, **limits: photograph)
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }
    server.stop()


def test_deploy_aws_lambda(workspace, docker, aws):
    results = follow("deploy_aws_lambda.md", workspace, docker, **aws)
    assert re.fullmatch(
        r"Account (\d{12}), registry \1\.dkr\.ecr\.eu-central-1\.amazonaws\.com",
        after(results, "export").strip(),
    )
    assert re.search(r"/scene-classifier@sha256:[0-9a-f]{64}$", after(results, "IMAGE=").strip())
    function = json.loads(after(results, "aws lambda create-function"))
    assert (function["PackageType"], function["MemorySize"], function["Timeout"]) == ("Image", 1769, 30)
    invoked = after(results, 'echo \'{"url"')
    assert '"StatusCode": 200' in invoked and '"probabilities"' in invoked
    assert after(results, "URL=").startswith("https://")
    assert '"Statement"' in after(results, "aws lambda put-function-concurrency")
    assert [command[0] for command in told(docker)] == ["login", "tag", "push", "tag", "push"]

    def left(*command: str) -> list:
        environment = {**os.environ, **aws, "AWS_DEFAULT_REGION": "eu-central-1"}
        done = subprocess.run(
            ["aws", *command, "--output", "json"], env=environment, capture_output=True, check=True
        )
        return next(iter(json.loads(done.stdout).values()))

    assert left("lambda", "list-functions") == []
    assert left("ecr", "describe-repositories") == []
    assert left("logs", "describe-log-groups") == []
    assert left("iam", "list-roles") == []


def test_keras_to_tflite(workspace):
    if not (ROOT / "train_model" / "scene_mobilenet.keras").is_file():
        pytest.skip("train_model/scene_mobilenet.keras has not been published yet")
    served = workspace / "containerize_deploy" / "scene-classifier-model.tflite"
    code = "\n".join(blocks("keras-to-tflite.md", "python"))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workspace, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    right, of = map(int, re.search(r"(\d+) of (\d+) test photographs right", done.stdout).groups())
    assert right / of > 0.7
    served.unlink()  # so that the copying below is what brings it
    (block,) = blocks("keras-to-tflite.md", "bash")
    done = subprocess.run(["bash", "-euc", block], cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "%" in done.stdout
    assert served.read_bytes() == (workspace / "runs/keras-to-tflite" / served.name).read_bytes()


def test_the_readmes_commands(workspace):
    (block,) = blocks("README.md", "bash")
    done = subprocess.run(["bash", "-euc", block], cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data_prep_eda/sample/coast/coast_00.jpg: ")


def test_blocks_that_are_not_run_have_a_reason_that_still_applies():
    every = [block for page in DEPLOY.glob("*.md") for block in blocks(page.name, "bash")]
    for start in NOT_RUN:
        assert any(block.startswith(start) for block in every), f"no block begins with {start}"


def test_every_command_is_shell(tmp_path):
    for page in DEPLOY.glob("*.md"):
        for block in blocks(page.name, "bash"):
            checked = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
            shlex.split(block, comments=True)


@pytest.mark.parametrize("page", sorted(path.name for path in DEPLOY.glob("*.md")))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (DEPLOY / page).read_text()):
        assert (DEPLOY / target).exists(), f"{page} links to {target}"


def test_sample_urls_are_whole_and_credited():
    """Commons files a photograph under the MD5 of its name; a typing error in either would show."""
    import hashlib

    lines = (DEPLOY / "sample_image_urls.txt").read_text().splitlines()
    urls = [line for line in lines if line and not line.startswith("#")]
    assert len(urls) >= 6
    for url in urls:
        name = url.rsplit("/", 1)[1]
        digest = hashlib.md5(name.encode()).hexdigest()
        assert url == f"https://upload.wikimedia.org/wikipedia/commons/{digest[0]}/{digest[:2]}/{name}"
        assert re.search(r"\. .+, CC(0| BY)", lines[lines.index(url) - 1])
