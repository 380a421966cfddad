"""The SAM template: what CloudFormation would make of it."""

import subprocess
from pathlib import Path

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[2] / "containerize_deploy" / "template.yaml"


def test_cfn_lint_has_no_complaints():
    done = subprocess.run(["cfn-lint", TEMPLATE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def resources() -> dict:
    """The resources, as AWS expands the template."""
    import os

    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
    policies = type("NoManagedPolicies", (), {"load": staticmethod(dict)})()
    return transform(yaml_parse(TEMPLATE.read_text()), {"ImageUri": "an image"}, policies)["Resources"]


def of_type(resources: dict, kind: str) -> list[dict]:
    return [one["Properties"] for one in resources.values() if one["Type"] == kind]


def test_the_function_is_sized_for_one_cpu(resources):
    (function,) = of_type(resources, "AWS::Lambda::Function")
    assert (function["MemorySize"], function["Timeout"], function["PackageType"]) == (1769, 30, "Image")
    assert function["Architectures"] == [{"Ref": "Architecture"}]
    parameter = yaml_parse(TEMPLATE.read_text())["Parameters"]
    assert parameter["Architecture"]["AllowedValues"] == ["x86_64", "arm64"]


def test_nobody_may_call_unless_one_says_so(resources):
    parameters = yaml_parse(TEMPLATE.read_text())["Parameters"]
    assert parameters["UrlAuth"]["Default"] == "AWS_IAM"
    permissions = [one for one in resources.values() if one["Type"] == "AWS::Lambda::Permission"]
    assert {one["Condition"] for one in permissions} == {"IsPublic"}
    actions = {one["Properties"]["Action"] for one in permissions}
    assert actions == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    # The second must not open the function to Invoke calls from everywhere.
    (invoke,) = (
        one["Properties"] for one in permissions if one["Properties"]["Action"] == "lambda:InvokeFunction"
    )
    assert invoke["InvokedViaFunctionUrl"] is True


def test_the_role_may_write_its_log_and_nothing_else(resources):
    (role,) = of_type(resources, "AWS::IAM::Role")
    assert "ManagedPolicyArns" not in role
    (policy,) = role["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == {"Fn::GetAtt": ["LogGroup", "Arn"]}
    assert all(action.startswith("logs:") for action in statement["Action"])


def test_logs_end_and_alarms_watch(resources):
    (log,) = of_type(resources, "AWS::Logs::LogGroup")
    assert log["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert {alarm["MetricName"] for alarm in of_type(resources, "AWS::CloudWatch::Alarm")} == {
        "Errors",
        "Duration",
        "Unexpected",
    }


def test_the_function_answers_preflights_alone(resources):
    """Two answers with the same header are an error in every browser."""
    (url,) = of_type(resources, "AWS::Lambda::Url")
    assert "Cors" not in url
