"""The one way in which this project writes: whole or not at all."""

import json
import threading
import time

import pytest

from data_prep_eda.files import clear_leavings, one_at_a_time, replacing, write_json, write_text


def test_a_block_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "new" / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("half")
        assert path.read_text() == "old" and part.suffix == ".txt"
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_left_is_cleared_away_and_nothing_else(tmp_path):
    for name in (f".{'0' * 32}-a.txt", f".{'0' * 32}-b.txt", ".mine", "a.txt"):
        (tmp_path / name).touch()
    clear_leavings(tmp_path, "a.txt")
    assert not (tmp_path / f".{'0' * 32}-a.txt").exists()
    clear_leavings(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "a.txt"]


def test_one_waits_for_the_other(tmp_path):
    order = []

    def work(number):
        with one_at_a_time(tmp_path / "folder"):
            order.append(number)
            time.sleep(0.05)
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[::2] == order[1::2]


def test_names_that_are_not_text_survive_in_json(tmp_path):
    path = write_json(tmp_path / "a.json", {"k\udcfcste": "sch\u00f6n"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"k\udcfcste": "sch\u00f6n"}
