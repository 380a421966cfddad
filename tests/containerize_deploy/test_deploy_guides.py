"""The guides of containerize_deploy, followed: their commands are taken out of the pages and run, in order.

The AWS CLI talks to a stand-in of AWS on this machine (moto), `docker` is a stand-in that records what it is
told and runs the function without a container, the internet is a file, a server on the loopback is the Function
URL, and Python is Python. The pages say so themselves. They are run in a copy of the repository's top folder, so
that nothing here is written to, in bash and, where it is installed, in zsh.
"""

import base64
import http.client
import http.server
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from containerize_deploy import fetching
from containerize_deploy.lambda_function import lambda_handler
from containerize_deploy.scene_model import MODEL_FILE, SceneModel
from data_prep_eda.preprocessing import load_image

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "containerize_deploy"
REGION = "eu-central-1"
MOUNTAIN = ROOT / "data_prep_eda" / "sample" / "mountain" / "mountain_00.jpg"

# Blocks that are not run, by how they begin, and why.
NOT_RUN = {
    "python -m containerize_deploy.local_runtime": "runs until interrupted; the stand-in for docker runs it",
}

DOCKER = """
# Stands in for docker: records the command, and runs the function where a container would.
import hashlib, json, os, signal, subprocess, sys
folder, command = os.path.dirname(__file__), sys.argv[1:]
with open(folder + "/docker.log", "a") as log:
    log.write(json.dumps(command) + "\\n")
running = folder + "/running.json"
if command[0] == "buildx":  # what the registry says of the base
    print("sha256:" + 64 * "0")
elif command[0] == "login":
    assert sys.stdin.read().strip(), "no password came through the pipe"
elif command[0] == "build":
    model = dict(argument.split("=") for argument in command if argument.startswith("MODEL=")).get("MODEL", "")
    json.dump(model, open(folder + "/model.json", "w"))
elif command[0] == "run":
    model = json.load(open(folder + "/model.json"))
    port = command[command.index("--publish") + 1].split(":")[1]
    name, _, value = command[command.index("--env") + 1].partition("=")
    service = subprocess.Popen(
        [sys.executable, "-m", "containerize_deploy.local_runtime", "--port", port],
        stdout=subprocess.PIPE, stderr=open(folder + "/service.log", "w"), start_new_session=True,
        env={**os.environ, "PYTHONPATH": folder + "/offline" + os.pathsep + os.getcwd(), name: value,
             "SCENES_MODEL": model},
    )
    assert service.stdout.readline().startswith(b"Listening")
    json.dump(service.pid, open(running, "w"))
elif command[0] == "stop":
    os.killpg(json.load(open(running)), signal.SIGTERM)
    os.remove(running)
elif command[0] == "push":  # what the registry would learn from it
    name, tag = command[1].split("/")[1].split(":")
    digest = "sha256:" + hashlib.sha256(tag.encode()).hexdigest()
    layer = {"digest": digest, "size": 1, "mediaType": "application/octet-stream"}
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": layer, "layers": [layer],
    })
    subprocess.run(["aws", "ecr", "put-image", "--repository-name", name, "--image-tag", tag,
                    "--image-manifest", manifest], check=True, stdout=subprocess.DEVNULL)
"""

# In the service that the stand-in for docker runs, whatever is fetched is one file, for whoever tells a contact.
OFFLINE = """
from containerize_deploy import fetching

def fetch(url, policy, **limits):
    if "@" not in policy.user_agent:
        raise fetching.ServiceError("upstream_failed", "no contact in the User-Agent")
    return open({photograph!r}, "rb").read()

fetching.fetch = fetch
"""

AWS = """
# Stands in for the AWS CLI 2 in the one command that the tests' version 1 has not.
import os, sys
if sys.argv[1:] == ["configure", "export-credentials", "--format", "env"]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if value := os.environ.get("EXPORTED_" + name):
            print("export " + name + "=" + value)
else:
    os.execv(sys.executable, [sys.executable, AWS, *sys.argv[1:]])
"""

# Stands in for pipx, whose databases are elsewhere.
PIPX = """
import os, sys
assert sys.argv[1:3] == ["run", "pip-audit"] and os.path.isfile(sys.argv[-1])
print("No known vulnerabilities found")
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
    """A folder with the stand-ins for docker and the AWS CLI; stops what it left running."""
    folder = tmp_path / "bin"
    (folder / "offline").mkdir(parents=True)
    (folder / "offline" / "sitecustomize.py").write_text(OFFLINE.format(photograph=str(MOUNTAIN)))
    stubs = {"docker": DOCKER, "pipx": PIPX, "aws": f"AWS = {shutil.which('aws')!r}\n{AWS}"}
    for name, code in stubs.items():
        (folder / f"{name}.py").write_text(code)
        # Not Python's path as the first line: where it has a space in it, that names no program.
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / name}.py" "$@"\n')
        (folder / name).chmod(0o755)
    yield folder
    if (folder / "running.json").exists():
        os.killpg(json.loads((folder / "running.json").read_text()), 9)


def runs(shell: str) -> bool:
    """Whether this machine has a shell, and one that works."""
    return (
        bool(shutil.which(shell))
        and not subprocess.run([shell, "-c", "true"], capture_output=True).returncode
    )


# What people paste commands into; zsh is macOS's.
SHELLS = ["bash", pytest.param("zsh", marks=pytest.mark.skipif(not runs("zsh"), reason="no zsh works here"))]


def steps(page: str, leave_out: str = "$^") -> list[str]:
    """The shell blocks of a page that can be run, without those under a heading that matches `leave_out`."""
    text, wanted, skipped = (DEPLOY / page).read_text(), [], None
    for heading, title, block in re.findall(r"^(#+) (.*)$|^```bash\n(?s:(.*?))^```$", text, re.MULTILINE):
        if heading and (skipped is None or len(heading) <= skipped):
            skipped = len(heading) if re.search(leave_out, title) else None
        elif block and skipped is None and not reason_not_to_run(block):
            wanted.append(block)
    return wanted


def follow(
    wanted: list[str], shell: str, workspace: Path, docker: Path, **environment: str
) -> list[tuple[str, str]]:
    """Runs shell blocks in one shell, up to the first failure.

    Returns:
        Each block's first line and what it printed.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    caller = workspace / "containerize_deploy" / "test.py"
    caller.write_text(caller.read_text().replace(":9000", f":{port}"))
    script = "set -euo pipefail\n" + "".join(f"echo '@@@ {n}'\n{block}" for n, block in enumerate(wanted))
    done = subprocess.run(
        [shell, "-c", script.replace(":9000", f":{port}")],
        cwd=workspace,
        env={**os.environ, "PATH": f"{docker}:{os.environ['PATH']}", "HOME": str(docker), **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    printed = done.stdout.split("@@@ ")[1:]
    assert done.returncode == 0, f"{wanted[len(printed) - 1]}{done.stdout}{done.stderr}"
    return [
        (block.splitlines()[0], text.partition("\n")[2]) for block, text in zip(wanted, printed, strict=True)
    ]


def told(docker: Path) -> list[list[str]]:
    """What docker was told."""
    return [json.loads(line) for line in (docker / "docker.log").read_text().splitlines()]


def after(results: list[tuple[str, str]], start: str) -> str:
    """What the block that begins so printed."""
    (text,) = (text for line, text in results if line.startswith(start))
    return text


@pytest.mark.parametrize("shell", SHELLS)
def test_containerize(workspace, docker, shell):
    results = follow(steps("containerize.md"), shell, workspace, docker)
    answer = json.loads(after(results, 'echo "{\\"image\\"'))
    assert answer["label"] in ("coast", "forest", "mountain")
    assert "%" in after(results, "python containerize_deploy/test.py")
    assert "%" in after(results, "python -m containerize_deploy.classify")
    urls = after(results, "grep -v '^#' containerize_deploy/sample_image_urls.txt | xargs").splitlines()
    assert len(urls) == 6 and all(line.startswith("https://") and "%" in line for line in urls)

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
    from moto.cloudformation.models import ChangeSet
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

    photograph = MOUNTAIN.read_bytes()

    # moto fills a stack's outputs in when it creates one at once, and `deploy` goes by a change set.
    def apply(self) -> None:
        apply_change_set(self)
        self.stack.template = self.template
        self.stack._parse_template()
        self.stack.output_map = self.stack._create_output_map()

    apply_change_set = ChangeSet.apply
    monkeypatch.setattr(ChangeSet, "apply", apply)
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


class FunctionUrl(http.server.ThreadingHTTPServer):
    """Stands in for a Function URL: checks who signed as AWS does, then has the handler answer.

    Attributes:
        callers: of each request so far the session token that was signed, an empty one, or None if unsigned.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FunctionUrlHandler)
        self.callers: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class FunctionUrlHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = "Authorization" in self.headers
        self.server.callers.append(self.headers.get("x-amz-security-token", "") if signed else None)
        if signed and self.headers["Authorization"].rpartition("Signature=")[2] != self.signature(body):
            status, answer = 403, '{"Message": "Forbidden"}'
        else:
            event = {
                "version": "2.0",
                "rawPath": "/",
                "requestContext": {"http": {"method": "POST", "path": "/"}},
            }
            event |= {"isBase64Encoded": True, "body": base64.b64encode(body).decode()}
            sent = lambda_handler(event, None)
            status, answer = sent["statusCode"], sent["body"]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode() + b"\n")

    def signature(self, body: bytes) -> str:
        """What AWS would expect, by its own implementation."""
        (names,) = re.findall(r"SignedHeaders=([^,]+)", self.headers["Authorization"])
        request = AWSRequest(
            "POST", self.server.address, {n: self.headers[n] for n in names.split(";")}, body
        )
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(Credentials("ID", "KEY"), "lambda", REGION)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return signer.signature(text, request)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def function_url():
    server = FunctionUrl()
    yield server
    server.shutdown()
    server.server_close()


def expand_template(workspace: Path, function_url: str) -> None:
    """Puts the template's expansion, as AWS makes it, in its place; moto knows neither SAM nor Function URLs."""
    template = workspace / "containerize_deploy" / "template.yaml"
    policies = type("NoManagedPolicies", (), {"load": staticmethod(dict)})()
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    expanded = transform(yaml_parse(template.read_text()), {"ImageUri": "an image"}, policies)
    expanded["Outputs"]["FunctionUrl"]["Value"] = function_url
    expanded.pop("Transform", None)
    template.write_text(json.dumps(expanded))


TOKENS = {"section 3": "a/session+token==", "section 4": ""}  # with temporary keys, and with a user's own


@pytest.mark.slow
@pytest.mark.parametrize("way", ["section 3", "section 4"])
def test_deploy_aws_lambda(workspace, docker, aws, function_url, way):
    shell = "zsh" if way == "section 4" and runs("zsh") else "bash"
    expand_template(workspace, function_url.address)
    other = {"section 3": r"^4\.|After section 4", "section 4": r"^3\.|After section 3"}[way]
    wanted = steps("deploy_aws_lambda.md", leave_out=other)
    # moto makes up a Function URL that nobody answers at.
    wanted = [
        re.sub(r"^echo \"\$\{URL\}\"$", f"URL={function_url.address}", block, flags=re.MULTILINE)
        for block in wanted
    ]
    keys = {"ACCESS_KEY_ID": "ID", "SECRET_ACCESS_KEY": "KEY", "SESSION_TOKEN": TOKENS[way]}
    # What is run last tells whether the keys stayed in their subshell.
    wanted.append('echo "keys: ${AWS_ACCESS_KEY_ID} ${AWS_SESSION_TOKEN:-}"\n')
    exported = {f"EXPORTED_AWS_{name}": value for name, value in keys.items()}
    results = follow(wanted, shell, workspace, docker, **aws, **exported)

    assert re.fullmatch(
        r"Account (\d{12}), registry \1\.dkr\.ecr\.eu-central-1\.amazonaws\.com",
        after(results, "export").strip(),
    )
    assert re.search(r"/scene-classifier@sha256:[0-9a-f]{64}$", after(results, "IMAGE=").strip())
    assert re.fullmatch(r"Base \S+/python:[\d.]+@sha256:0{64}", after(results, "BASE=").strip())
    policy = json.loads(json.loads(after(results, "aws ecr set-repository-policy"))["policyText"])
    assert policy["Statement"][0]["Principal"] == {"Service": "lambda.amazonaws.com"}
    invoked = after(results, 'echo \'{"url"')
    assert '"StatusCode": 200' in invoked and '"mountain"' in invoked
    assert json.loads(after(results, "("))["label"] == "coast"
    assert "%" in after(results, "python containerize_deploy/test.py")
    assert function_url.callers == [TOKENS[way], None]
    assert after(results, 'echo "keys:').strip() == "keys: testing"
    if way == "section 3":
        assert "Successfully created/updated stack" in after(
            results,
            'aws cloudformation deploy --stack-name scene-classifier --template-file containerize_deploy/template.yaml --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides ImageUri="${IMAGE}" Contact',
        )
        assert re.search(r"^scene-classifier-Function-\w+ at http", after(results, "output()"))
    else:
        function = json.loads(after(results, "aws lambda create-function"))
        assert (function["PackageType"], function["MemorySize"], function["Timeout"]) == ("Image", 1769, 30)
        variables = function["Environment"]["Variables"]
        assert variables == {"FETCH_USER_AGENT": "scene-classifier/2.1 (you@example.org)"}
        (create,) = (block for block in wanted if block.startswith("aws lambda create-function"))
        assert "--logging-config LogFormat=JSON,SystemLogLevel=WARN," in create  # which moto leaves out
        assert '"Statement"' in after(results, "aws lambda put-function-concurrency")
    commands = [command[0] for command in told(docker)]
    assert commands == ["buildx", "build", "login", "tag", "push", "tag", "push"]

    def left(*command: str) -> list:
        environment = {**os.environ, **aws, "AWS_DEFAULT_REGION": REGION}
        asked = [docker / "aws", *command, "--output", "json"]
        done = subprocess.run(asked, env=environment, capture_output=True, check=True)
        return next(iter(json.loads(done.stdout).values()))

    assert left("lambda", "list-functions") == []
    assert left("ecr", "describe-repositories") == []
    assert left("iam", "list-roles") == []
    assert left("cloudwatch", "describe-alarms") == []
    if way == "section 4":  # moto keeps a stack's log groups; test_template.py sees to those
        assert left("logs", "describe-log-groups") == []


def test_a_wrong_signature_would_be_noticed(function_url):
    """Else the guide's signed request would prove nothing."""
    sign = ["curl", "--silent", "--aws-sigv4", f"aws:amz:{REGION}:lambda", "--user", "ID:OTHER"]
    done = subprocess.run([*sign, "--data", "{}", function_url.address], capture_output=True, text=True)
    assert "Forbidden" in done.stdout


def test_what_an_open_url_costs_at_worst_is_added_up_right(capsys):
    """The guide's figures follow from the function's limits, and its bounds hold for the largest answers and log lines."""
    text = (DEPLOY / "deploy_aws_lambda.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z' ]+) \| .* \| ([\d,]+) \|$", text, re.MULTILINE))
    dollars = {name: int(value.replace(",", "")) for name, value in rows.items()}
    seconds = 730 * 3600
    requests = 50 * seconds
    answers = requests * 4000 / 1e9  # GB
    hosts = requests * (fetching.MAX_SENT + 1000 * fetching.MAX_REQUESTS) / 1e9
    expected = {
        "time": 5 * seconds * 1769 / 1024 * 0.0000166667,
        "requests": requests / 1e6 * 0.20,
        "logs": requests * 2000 / 1e9 * 0.50,
        "answers": answers * 0.09,
        "requests to images' hosts": (10_240 - answers) * 0.09 + (hosts + answers - 10_240) * 0.085,
    }
    assert dollars == pytest.approx(expected, abs=1)
    assert f"about {round(sum(expected.values()), -2):,.0f} US dollars" in text
    without = sum(expected[name] for name in ("time", "requests", "logs")) + requests * 8000 / 1e9 * 0.09
    assert f"{round(without, -1):.0f} in all" in text

    def size(method: str, images: list[str]) -> int:
        event = {
            "rawPath": "/",
            "headers": {"accept": "text/html"},
            "requestContext": {"http": {"method": method}},
        }
        answer = lambda_handler({**event, "body": json.dumps({"images": images})}, None)
        return len(answer["body"].encode()) + len(json.dumps(answer["headers"]))

    assert size("GET", []) < 8000
    assert size("POST", [base64.b64encode(MOUNTAIN.read_bytes()).decode()] * 16) < 4000
    assert size("POST", ["data:,"] * 16) < 4000
    assert max(map(len, capsys.readouterr().out.splitlines())) < 2000


def test_versions_of_the_guide_only_rise():
    text = (DEPLOY / "deploy_aws_lambda.md").read_text()
    versions = [
        tuple(map(int, version)) for version in re.findall(r"^VERSION=(\d+)\.(\d+)\.(\d+)$", text, re.M)
    ]
    assert len(versions) == 2 and versions == sorted(set(versions))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert versions[0] >= tuple(map(int, project.split(".")))


def test_every_shell_reads_the_guides_alike():
    """zsh reads `$NAME:l` as a modifier, keeps an unquoted expansion one word, and takes # at a prompt for a command."""
    for page in DEPLOY.glob("*.md"):
        for block in blocks(page.name, "bash"):
            assert not re.search(r"\$\w+:[a-zA-Z]", block), f"{page.name}: braces around the name in {block}"
            assert not re.search(r"\$\{\w+:\+[^\"}]*\s", block), (
                f"{page.name}: words from an expansion in {block}"
            )
            assert not re.search(r"(^|\s)# ", block), f"{page.name}: a comment in {block}"


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
    right, of = map(int, re.search(r"(\d+) of (\d+) test images right", done.stdout).groups())
    assert right / of > 0.7
    served.unlink()  # so that the copying below is what brings it
    (block,) = blocks("keras-to-tflite.md", "bash")
    done = subprocess.run(["bash", "-euc", block], cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "%" in done.stdout
    assert served.read_bytes() == (workspace / "runs/keras-to-tflite" / served.name).read_bytes()


def test_what_another_resize_costs(workspace):
    code, *_ = blocks("devices.md", "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(.*): of 120 images \d+ other labels", done.stdout, re.MULTILINE) == [
        "bilinear, four pixels",
        "bicubic",
        "nearest",
        "square cut from the middle",
    ]


def test_the_script_for_boards_needs_nothing_of_this_project(tmp_path):
    _, script, _ = blocks("devices.md", "python")
    shutil.copy(MODEL_FILE, tmp_path)
    images = [str(MOUNTAIN), str(MOUNTAIN.parents[1] / "coast" / "coast_00.jpg")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, *images], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    model = SceneModel()
    for image, line in zip(images, done.stdout.splitlines(), strict=True):
        answer = model.classify(load_image(Path(image), model.size))
        label = answer.label if answer.in_scope else "none of these"
        assert line == f"{image}: {label} ({answer.label} {answer.probabilities[answer.label]:.1%})"


def test_the_compiled_model_gives_the_services_answers(workspace):
    *_, code = blocks("devices.md", "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace, capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr


def test_microcontrollers_are_told_every_operator_of_the_file():
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(MODEL_FILE.read_bytes(), 0)
    codes = [
        model.operatorCodes[operator.opcodeIndex].builtinCode for operator in model.subgraphs[0].operators
    ]
    page = (DEPLOY / "devices.md").read_text()
    told = re.findall(r"resolver\.Add(\w+)\(\)", page)
    assert {name.lower() for name in told} == {names[code].replace("_", "").lower() for code in codes}
    assert f"MicroMutableOpResolver<{len(told)}>" in page
    assert f"The {sum('CONV' in names[code] for code in codes)} convolutions" in page


def test_the_readmes_commands(workspace):
    (block,) = blocks("README.md", "bash")
    done = subprocess.run(["bash", "-euc", block], cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data_prep_eda/sample/coast/coast_00.jpg: ")


def test_blocks_that_are_not_run_have_a_reason_that_still_applies():
    every = [block for page in DEPLOY.glob("*.md") for block in blocks(page.name, "bash")]
    for start in NOT_RUN:
        assert any(block.startswith(start) for block in every), f"no block begins with {start}"


def test_the_url_stays_shut_where_the_cap_fails(tmp_path):
    """In a new account the first command fails; what is pasted behind it must not run."""
    (block,) = (
        b
        for b in blocks("deploy_aws_lambda.md", "bash")
        if b.startswith("aws lambda put-function-concurrency")
    )
    (tmp_path / "aws").write_text(f"#!/bin/sh\necho $2 >> '{tmp_path}/log'\nexit 254\n")
    (tmp_path / "aws").chmod(0o755)
    subprocess.run(["bash", "-c", block], env={"PATH": f"{tmp_path}:/bin:/usr/bin", "FUNCTION": "f"})
    assert (tmp_path / "log").read_text() == "put-function-concurrency\n"


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
