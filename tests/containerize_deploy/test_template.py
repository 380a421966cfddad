"""The SAM template: what CloudFormation would make of it."""

import re
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
    given = {"ImageUri": "an image", "Contact": "you@example.org"}
    return transform(yaml_parse(TEMPLATE.read_text()), given, policies)["Resources"]


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


def test_whom_to_write_to_is_told_to_where_images_are_fetched_from(resources):
    """Wikimedia refuses requests whose User-Agent has no contact; so nobody deploys without one."""
    (function,) = of_type(resources, "AWS::Lambda::Function")
    user_agent = function["Environment"]["Variables"]["FETCH_USER_AGENT"]
    assert user_agent == {"Fn::Sub": "scene-classifier/2.0 (${Contact})"}
    contact = yaml_parse(TEMPLATE.read_text())["Parameters"]["Contact"]
    assert "Default" not in contact
    for value, allowed in {
        "you@example.org": True,
        "https://example.org/about": True,
        "": False,
        "a b": False,
        "a\nb": False,
        "ü@example.org": False,
    }.items():
        assert bool(re.fullmatch(contact["AllowedPattern"], value)) == allowed, value


def test_names_for_the_guide_are_among_the_outputs():
    assert set(yaml_parse(TEMPLATE.read_text())["Outputs"]) == {"FunctionName", "FunctionUrl", "LogGroup"}


def test_logs_end_and_alarms_watch(resources):
    group = resources["LogGroup"]
    assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("Delete", "Delete")
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
