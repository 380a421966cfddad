"""What is kept is used again, by name and decoder, and a cache that is no use only costs time."""

import os
import subprocess
import sys

import pytest

from data_prep_eda import cache


def test_what_is_kept_is_made_once():
    made = []
    for _ in range(2):
        assert cache.cached("numbers/one", lambda: made.append(1) or {"caf\u00e9": [1]}) == {"caf\u00e9": [1]}
    assert len(made) == 1
    assert cache.cached("numbers/two", lambda: 2) == 2


def test_images_decoded_in_another_way_are_judged_anew(monkeypatch):
    cache.cached("verdict", lambda: "as before")
    monkeypatch.setattr(cache, "_decoder_digest", lambda: "another")
    assert cache.cached("verdict", lambda: "anew") == "anew"


@pytest.mark.parametrize("harm", ["unwritable", "damaged"])
def test_a_cache_that_is_no_use_only_costs_time(monkeypatch, tmp_path, harm):
    if harm == "unwritable":
        (tmp_path / "file").touch()
        monkeypatch.setattr(cache, "CACHE", tmp_path / "file")
    assert cache.cached("some", lambda: "thing") == "thing"
    for path in cache.CACHE.rglob("*.json"):
        path.write_text("{")
    assert cache.cached("some", lambda: "thing") == "thing"


def test_the_cache_may_lie_in_the_home_folder(tmp_path):
    program = "from data_prep_eda.cache import CACHE; print(CACHE)"
    environment = os.environ | {"SCENES_CACHE_DIR": "~/kept", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "kept")
