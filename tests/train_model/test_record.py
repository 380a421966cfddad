"""A run's record: what it holds, which data it belongs to, and what a notebook that was opened alone reads."""

import json

import numpy as np
import pandas as pd
import pytest

from data_prep_eda.dataset import DatasetError, load_dataset
from train_model import record
from train_model.metrics import share
from train_model.parameters import ParameterError
from train_model.record import begin, output_folder, read_metrics, record_metrics, recorded


def test_what_is_recorded_is_read_again_as_plain_json(tmp_path):
    table = pd.DataFrame({"accuracy": [0.5]}, index=pd.Index(["coast"], name="label"))
    values = {"table": table, "share": share(np.array([True, False])), "nothing": np.nan, "n": np.int64(3)}
    record_metrics(tmp_path, "evaluation", values)
    section = read_metrics(tmp_path)["evaluation"]
    assert section["table"] == [{"label": "coast", "accuracy": 0.5}]
    assert section["share"]["successes"] == 1 and section["nothing"] is None and section["n"] == 3
    record_metrics(tmp_path, "final", {"l2": 0.03})
    assert list(read_metrics(tmp_path)) == ["evaluation", "final"]


def test_a_run_says_which_images_it_is_about_and_refuses_others(images, tmp_path, capsys):
    run = tmp_path / "run"
    begin(run, load_dataset(str(images)))
    data = read_metrics(run)["data"]
    assert data["source"] == "own" and data["class_names"] == ["coast", "forest", "mountain"]
    assert data["found"] == data["used"] == 36 and sum(data["counts"]["coast"].values()) == 12
    assert "speaks of the published run" in capsys.readouterr().out
    (images / "coast").rename(images / "seaside")
    with pytest.raises(DatasetError, match=r"Expected the classes that this run began with.*output_dir"):
        begin(run, load_dataset(str(images)))
    assert read_metrics(run)["data"] == data


def test_a_setting_that_nobody_recorded_names_the_notebook_to_run(tmp_path):
    with pytest.raises(ParameterError, match="Run notebook 06_train_final_model first"):
        recorded(tmp_path, "final", "l2")
    record_metrics(tmp_path, "final", {"l2": 0.1})
    assert recorded(tmp_path, "final", "l2") == 0.1


def test_a_notebook_that_is_opened_alone_reads_the_published_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ALONE", tmp_path / "alone")
    monkeypatch.setattr(record, "PUBLISHED", tmp_path / "published.json")
    (tmp_path / "published.json").write_text(json.dumps({"final": {"l2": 0.5}}))
    assert recorded(tmp_path / "alone", "final", "l2") == 0.5
    record_metrics(tmp_path / "alone", "final", {"l2": 0.1})
    assert recorded(tmp_path / "alone", "final", "l2") == 0.1


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ParameterError, match="Expected a folder to write to in 'output_dir'"):
        output_folder(str(tmp_path / "file"))
