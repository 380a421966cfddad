"""The embedded sample: what is committed, and that the code beside it draws exactly that."""

import numpy as np
import pytest
from PIL import Image

from data_prep_eda.dataset import SAMPLE
from data_prep_eda.drawing import sample
from data_prep_eda.preprocessing import SCENES

COMMITTED = SAMPLE


def images(scene):
    return sorted((COMMITTED / scene).glob("*.jpg"))


def difference(a, b):
    """Mean difference of two images in grey levels."""
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


def test_the_scenes_are_those_of_the_study():
    assert sorted(sample.DRAWERS) == sorted(SCENES)


@pytest.mark.parametrize("scene", SCENES)
def test_forty_rgb_jpegs_of_the_images_size_per_scene(scene):
    assert [path.name for path in images(scene)] == [f"{scene}_{n:02d}.jpg" for n in range(sample.COUNT)]
    for path in images(scene):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (256, 256)), path.name


def test_the_sample_is_small_and_holds_nothing_else():
    files = [path for path in COMMITTED.rglob("*") if path.is_file()]
    assert len(files) == 3 * sample.COUNT + 1  # and the README
    assert sum(path.stat().st_size for path in files) < 3_000_000


def test_no_two_images_are_alike():
    small = [
        np.asarray(Image.open(path).resize((32, 32)), float) for scene in SCENES for path in images(scene)
    ]
    closest = min(np.abs(a - b).mean() for i, a in enumerate(small) for b in small[:i])
    assert closest > 3


@pytest.mark.parametrize(("scene", "number"), [("coast", 3), ("forest", 4), ("mountain", 1)])
def test_the_code_draws_the_committed_image(scene, number):
    """After decoding, and not to the byte: JPEG encoders and the last digits of sums differ by version."""
    with Image.open(COMMITTED / scene / f"{scene}_{number:02d}.jpg") as committed:
        drawn = sample.draw(scene, number)
        assert difference(drawn, committed) < 4
        assert difference(sample.draw(scene, number, seed=sample.SEED + 1), committed) > 12


def test_the_same_seed_gives_the_same_pixels():
    first, again = sample.draw("forest", 5), sample.draw("forest", 5)
    assert np.array_equal(np.asarray(first), np.asarray(again))
    assert difference(first, sample.draw("forest", 8)) > 5  # the other wooded slope


def test_the_command_writes_whole_images_and_leaves_no_temporary_file(tmp_path, capsys):
    sample.main(["--out", str(tmp_path), "--count", "1", "--seed", "7"])
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert written == [f"{scene}/{scene}_00.jpg" for scene in sorted(SCENES)]
    assert "3 pictures" in capsys.readouterr().out


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(self, stream, **options):
        stream.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(sample, "draw", lambda scene, number, seed: Image.new("RGB", (256, 256)))
    (tmp_path / "coast").mkdir()
    with pytest.raises(OSError, match="No space"):
        sample._write_one(tmp_path, "coast", 0, 1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--seed", "-1"]])
def test_impossible_requests_are_refused_in_words(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        sample.main(["--out", str(tmp_path), *arguments])
    assert "Expected --count of at least 1" in capsys.readouterr().err
