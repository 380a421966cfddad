"""What is answered, whoever asks: codes with a status, and a schema that knows them all and no model's labels."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from containerize_deploy import answers, fetching
from containerize_deploy.answers import STATUS, ServiceError
from containerize_deploy.settings import Policy

SCHEMA = json.loads(Path(answers.__file__).with_name("answer.schema.json").read_text())


def test_the_schema_is_one_and_knows_every_error():
    Draft202012Validator.check_schema(SCHEMA)
    error = SCHEMA["$defs"]["error"]["properties"]["error"]["properties"]
    assert set(error["code"]["enum"]) == set(STATUS)
    assert set(error["status"]["enum"]) == {ServiceError(code, "A reason.").status for code in STATUS}


@pytest.mark.parametrize("labels", [("coast", "forest"), ("2 Straßen", "草原", "café crème")])
def test_the_schema_takes_any_labels(labels):
    answer = {"label": labels[0], "probabilities": dict.fromkeys(labels, 0.5), "in_scope": True, "score": 1.0}
    answer["model"] = {"version": "1", "digest": "sha256:" + "0" * 64}
    Draft202012Validator(SCHEMA).validate(answer)
    assert not Draft202012Validator(SCHEMA).is_valid({**answer, "label": ""})


def test_a_fetch_that_fails_is_an_answer():
    with pytest.raises(ServiceError) as caught:
        fetching.fetch("https://photos.example/photo.jpg", Policy(enabled=False))
    assert (caught.value.code, caught.value.status) == ("not_allowed", 403)
