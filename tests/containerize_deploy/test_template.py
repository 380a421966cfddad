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
    return [resource["Properties"] for resource in resources.values() if resource["Type"] == kind]


def holds(expression, parameters: dict[str, str]):
    """What CloudFormation makes of a rule's expression; parameters are texts to it, numbers too."""
    if not isinstance(expression, dict):
        return expression
    ((function, value),) = expression.items()
    if function == "Ref":
        return parameters[value]
    values = [holds(part, parameters) for part in value]
    return values[0] == values[1] if function == "Fn::Equals" else not values[0]


def test_the_function_is_sized_for_one_cpu(resources):
    (function,) = of_type(resources, "AWS::Lambda::Function")
    assert (function["MemorySize"], function["Timeout"], function["PackageType"]) == (1769, 30, "Image")
    assert function["Architectures"] == [{"Ref": "Architecture"}]
    parameter = yaml_parse(TEMPLATE.read_text())["Parameters"]
    assert parameter["Architecture"]["AllowedValues"] == ["x86_64", "arm64"]


def test_nobody_may_call_unless_one_says_so(resources):
    parameters = yaml_parse(TEMPLATE.read_text())["Parameters"]
    assert parameters["UrlAuth"]["Default"] == "AWS_IAM"
    permissions = [
        resource for resource in resources.values() if resource["Type"] == "AWS::Lambda::Permission"
    ]
    assert {permission["Condition"] for permission in permissions} == {"IsPublic"}
    allowed = {permission["Properties"].pop("Action"): permission["Properties"] for permission in permissions}
    assert set(allowed) == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    # It must not open the function to Invoke calls from everywhere.
    assert allowed["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True


@pytest.mark.parametrize(
    ("auth", "concurrency", "accepted"),
    [("AWS_IAM", "-1", True), ("NONE", "-1", False), ("NONE", "0", True), ("NONE", "5", True)],
)
def test_no_url_is_public_without_a_cap(auth, concurrency, accepted):
    (rule,) = yaml_parse(TEMPLATE.read_text())["Rules"].values()
    given = {"UrlAuth": auth, "ReservedConcurrency": concurrency}
    (assertion,) = rule["Assertions"]
    assert (not holds(rule["RuleCondition"], given) or holds(assertion["Assert"], given)) is accepted


@pytest.mark.parametrize(
    ("hosts", "accepted"),
    [("", True), ("photos.example", True), (".photos.example, küste.example,a.example", True), ("*", False),
     ("*.photos.example", False), ("https://photos.example", False), ("photos.example:443", False), (" ", False),
     ("a.example,", False), ("a.example b.example", False)],
)  # fmt: skip
def test_hosts_are_names_and_never_a_star(hosts, accepted):
    pattern = yaml_parse(TEMPLATE.read_text())["Parameters"]["FetchHosts"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, hosts)) is accepted


def test_the_log_is_the_functions_own_lines(resources):
    (function,) = of_type(resources, "AWS::Lambda::Function")
    assert function["LoggingConfig"] == {
        "LogGroup": {"Ref": "LogGroup"},
        "LogFormat": "JSON",
        "SystemLogLevel": "WARN",
        "ApplicationLogLevel": "INFO",
    }


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
    assert user_agent == {"Fn::Sub": "scene-classifier/2.1 (${Contact})"}
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
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert {alarm.get("MetricName", "cost") for alarm in alarms} == {
        "Errors",
        "Duration",
        "Unexpected",
        "Invocations",
        "cost",
    }
    assert all(alarm["AlarmActions"]["Fn::If"][0] == "HasAlarmTopic" for alarm in alarms)


def test_the_alarm_of_cost_counts_what_the_guide_counts(resources):
    (alarm,) = (alarm for alarm in of_type(resources, "AWS::CloudWatch::Alarm") if "Metrics" in alarm)
    (dollars,) = (metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric)
    million = {"milliseconds": 50e6, "invocations": 1e6}  # a million calls of 50 ms
    assert eval(dollars, {}, million) == pytest.approx(1.60, abs=0.05)
    assert {metric["Id"] for metric in alarm["Metrics"]} == {"dollars", *million}


def test_the_function_answers_preflights_alone(resources):
    """Two answers with the same header are an error in every browser."""
    (url,) = of_type(resources, "AWS::Lambda::Url")
    assert "Cors" not in url
