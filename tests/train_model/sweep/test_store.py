"""Folders and buckets: what is read, what is deleted, which are refused."""

import pytest

from train_model.parameters import ParameterError
from train_model.sweep.store import Store


@pytest.mark.parametrize("damaged", [b"", b'{"status": "comp', b"\xff"])
def test_a_damaged_status_is_none(tmp_path, damaged):
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "status.json").write_bytes(damaged)
    assert Store(str(tmp_path)).read("seed=1", "status.json") is None


@pytest.mark.parametrize("address", ["nothing://bucket/runs", "s3://nobody-made-this/runs"])
def test_a_place_that_cannot_take_results_is_refused(address, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ParameterError, match="Expected a folder or a bucket for results"):
        Store(address)


def test_in_a_folder_only_what_a_sweep_made_is_deleted(tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "sea.jpg").touch()
    store = Store(str(tmp_path / "runs"))
    for name in ("mine/notes.txt", "seed=1/status.json", "seed=1/metrics.json", "seed=10/status.json"):
        store.write(name, b"{}")
    (tmp_path / "runs" / "seed=1" / "link").symlink_to(tmp_path / "photographs")
    for point in ("mine", "seed=1"):
        with Store(f"{tmp_path}/runs/{point}").workspace() as folder:
            assert folder == tmp_path / "runs" / point
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {"photographs/sea.jpg", "runs/mine/notes.txt", "runs/seed=10/status.json"}


def test_in_a_bucket_only_what_a_sweep_made_is_deleted(bucket):
    store = Store("s3://sweeps/my * studies")
    kept = ["mine/notes.txt", "seed=10/status.json"]
    for key in (*kept, "seed=1/status.json", "seed=1/metrics.json"):
        bucket.put_object(Key=f"my * studies/{key}")
    bucket.put_object(Key="my other studies/seed=1/metrics.json")
    assert store.read("seed=1", "status.json") is None  # an empty file is no status
    for point in ("mine", "seed=1"):
        with Store(f"s3://sweeps/my * studies/{point}").workspace() as folder:
            (folder / "new").mkdir()
            (folder / "new" / "file.txt").touch()
    new = ["mine/new/file.txt", "seed=1/new/file.txt"]
    expected = {f"my * studies/{key}" for key in (*kept, *new)} | {"my other studies/seed=1/metrics.json"}
    assert {entry.key for entry in bucket.objects.all()} == expected
