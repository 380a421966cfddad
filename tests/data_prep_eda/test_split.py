"""The split: what is written to disk, and the command."""

import csv
import itertools
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.dataset import SAMPLE, DatasetError
from data_prep_eda.manifests import SPLITS
from data_prep_eda.split import main, prepare
from data_prep_eda.split_rules import study_split
from data_prep_eda.sun09 import CLASSES


def make_images(folder: Path, each: int, seed: int = 0) -> None:
    """Noise images `<scene>/<scene>_NN.jpg`: none like another."""
    rng = np.random.default_rng(seed)
    for scene in CLASSES:
        (folder / scene).mkdir(parents=True)
        for n in range(each):
            levels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(levels).resize((64, 64)).save(folder / scene / f"{scene}_{n:02d}.jpg")


def as_triples(folder: Path) -> list[tuple[Path, str, str]]:
    found = []
    for scene in CLASSES:
        paths = {path.name: path for path in sorted((folder / scene).iterdir())}
        found += [(paths[name], scene, part) for name, part in study_split(list(paths)).items()]
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones and unfinished ones too."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_writes_split_folders_manifest_and_zip(tmp_path):
    make_images(tmp_path / "in", each=10)
    out, archive = tmp_path / "data", tmp_path / "data.zip"
    assert prepare(as_triples(tmp_path / "in"), out, archive)

    with (out / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 30
    assert {row["path"] for row in rows} == {path for path in tree(out) if path != "manifest.csv"}
    assert [sum(row["split"] == part for row in rows) for part in SPLITS] == [24, 3, 3]
    (out / "validation/coast/coast_00.jpg").write_bytes(b"edited")
    assert (tmp_path / "in/coast/coast_00.jpg").read_bytes() != b"edited", "the original is nobody's copy"
    prepare(as_triples(tmp_path / "in"), out, archive)
    with zipfile.ZipFile(archive) as content:
        assert {name: content.read(name) for name in content.namelist()} == tree(out)


def test_second_run_changes_nothing(tmp_path):
    make_images(tmp_path / "in", each=4)
    out, archive = tmp_path / "data", tmp_path / "data.zip"
    prepare(as_triples(tmp_path / "in"), out, archive)
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(tmp_path.rglob("*"))]
    assert not prepare(as_triples(tmp_path / "in"), out, archive)
    assert before == [
        (path, path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(tmp_path.rglob("*"))
    ]


def test_damage_is_repaired(tmp_path):
    make_images(tmp_path / "in", each=4)
    out, archive = tmp_path / "data", tmp_path / "data.zip"
    prepare(as_triples(tmp_path / "in"), out, archive)
    whole = tree(out)
    (out / "train/forest/forest_02.jpg").unlink()
    archive.unlink()
    assert prepare(as_triples(tmp_path / "in"), out, archive)
    assert tree(out) == whole
    assert zipfile.is_zipfile(archive)


@pytest.mark.parametrize("fails_at", ["copy", "first rename", "second rename"])
def test_interrupted_run_leaves_the_old_state(tmp_path, monkeypatch, fails_at):
    make_images(tmp_path / "old", each=3)
    make_images(tmp_path / "new", each=5, seed=1)
    out = tmp_path / "data"
    prepare(as_triples(tmp_path / "old"), out, None)
    before = tree(out)

    calls = itertools.count()
    target, owner, name = {
        "copy": (7, shutil, "copyfile"),
        "first rename": (0, Path, "rename"),
        "second rename": (1, Path, "rename"),
    }[fails_at]
    real = getattr(owner, name)

    def interrupted(*arguments):
        if next(calls) == target:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(as_triples(tmp_path / "new"), out, None)
    monkeypatch.undo()
    assert tree(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "new", "old"]  # no leavings


def test_a_second_run_waits_for_the_first_and_finds_it_done(tmp_path, monkeypatch, capsys):
    make_images(tmp_path / "in", each=4)
    real = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda *paths: (time.sleep(0.05), real(*paths)))
    command = ["--source", str(tmp_path / "in"), "--out", str(tmp_path / "data")]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(main, [command, command])) == [0, 0]
    assert capsys.readouterr().out.count("nothing to do") == 1
    assert len(tree(tmp_path / "data")) == 13
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "data.zip", "in"]


def test_killed_between_the_renames_the_next_run_recovers(tmp_path):
    make_images(tmp_path / "in", each=4)
    out = tmp_path / "data"
    prepare(as_triples(tmp_path / "in"), out, None)
    before = tree(out)
    out.rename(tmp_path / ".data.previous")  # what kill -9 at the worst moment leaves
    (tmp_path / ".data.part/train").mkdir(parents=True)
    prepare(as_triples(tmp_path / "in"), out, None)
    assert tree(out) == before
    assert not (tmp_path / ".data.previous").exists()


def test_files_of_others_are_left_alone(tmp_path):
    make_images(tmp_path / "in", each=4)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/thesis.txt").write_text("only copy")
    with pytest.raises(DatasetError, match=r"found thesis\.txt"):
        prepare(as_triples(tmp_path / "in"), tmp_path / "data", None)
    assert tree(tmp_path / "data") == {"thesis.txt": b"only copy"}


def test_one_name_twice_is_refused(tmp_path):
    make_images(tmp_path / "in", each=3)
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other/coast_00.jpg"
    twin.write_bytes(b"x")
    with pytest.raises(DatasetError, match="twice"):
        prepare([*as_triples(tmp_path / "in"), (twin, "coast", "validation")], tmp_path / "data", None)


def test_command_splits_the_sample(tmp_path, capsys):
    out = tmp_path / "data"
    assert main(["--source", str(SAMPLE), "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["manifest.csv", *sorted(SPLITS)]
    assert (tmp_path / "data.zip").is_file()
    assert main(["--source", str(SAMPLE), "--out", str(out)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["--source", str(SAMPLE), "--out", str(out), "--rule", "grouped", "--no-zip"]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source", "nowhere"], "Run `python -m data_prep_eda.sun09` first"),
        (["--source", "."], "Expected one subfolder for each of two or more classes"),
    ],
)
def test_command_says_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--out", "../data"]) != 0
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_killed_command_leaves_whole_folders(tmp_path):
    make_images(tmp_path / "in", each=40)
    command = [sys.executable, "-m", "data_prep_eda.split", "--source", str(tmp_path / "in")]
    command += ["--out", str(tmp_path / "data"), "--no-zip"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / ".data.part").exists():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (tmp_path / "data").exists():  # it was faster than the signal
        assert len(tree(tmp_path / "data")) == 121
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert len(tree(tmp_path / "data")) == 121
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "in"]


def test_the_current_folder_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["--source", str(SAMPLE), "--out", "."]) == 0 and (tmp_path / "here.zip").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "/"], "a whole disk"),
        (["--out", "data", "--zip", "data/train/x.zip"], "outside of the folder that it packs"),
        (["--out", "in/data"], "Expected a folder outside of in"),
    ],
)
def test_places_that_would_be_foreign_the_next_time_are_refused(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    make_images(tmp_path / "in", each=4)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert main(["--source", "in", *arguments]) == 1
    assert sentence in capsys.readouterr().err and tree(tmp_path) == before


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_no_generator_takes_is_refused(capsys, seed):
    with pytest.raises(SystemExit):
        main(["--seed", seed])
    assert f"expected a number from 0 to 4294967295, found {seed}" in capsys.readouterr().err


def test_names_with_line_ends_are_known_again(tmp_path, capsys):
    make_images(tmp_path / "in", each=4)
    for number, odd in enumerate(("carriage\rreturn.jpg", "line\nbreak.jpg", 'quote",.jpg')):
        (tmp_path / f"in/coast/coast_{number:02d}.jpg").rename(tmp_path / "in/coast" / odd)
    command = ["--source", str(tmp_path / "in"), "--out", str(tmp_path / "data")]
    assert main(command) == 0 and main(command) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_images_of_one_name_in_two_subfolders_stay_apart(tmp_path):
    make_images(tmp_path / "in", each=4)
    for number, folder in enumerate(("2023", "2024")):
        (tmp_path / "in/coast" / folder).mkdir()
        (tmp_path / f"in/coast/coast_{number:02d}.jpg").rename(tmp_path / "in/coast" / folder / "a.jpg")
    assert main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / "data")]) == 0
    assert len(list((tmp_path / "data").rglob("coast/202?/a.jpg"))) == 2


def test_classes_of_any_name_are_split_with_other(awkward_classes, tmp_path):
    for rule in ([], ["--rule", "grouped"], ["--rule", "study"]):
        assert main(["--source", str(awkward_classes), "--out", str(tmp_path / "data"), *rule]) == 0
        folders = {path.name for path in (tmp_path / "data/train").iterdir()}
        assert folders == {
            "2024",
            "Old Town",
            "caf\u00e9",
            "\u0434\u0440\u0443\u0433\u043e\u0435",
            "\u6d77",
            "other",
        }
