"""The acquisition as a whole: from the web, from archives and folders, interrupted, killed, and run again."""

import contextlib
import errno
import hashlib
import io
import multiprocessing
import os
import random
import re
import signal
import subprocess
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep_eda import collection
from data_prep_eda.archives import AcquisitionError
from data_prep_eda.collection import match
from data_prep_eda.preprocessing import MAX_BYTES
from data_prep_eda.sun09 import CLASSES
from data_prep_eda.sun09 import acquire as sun09
from data_prep_eda.sun09.acquire import IMAGE_FOLDER, acquire, main, names
from tests.data_prep_eda.costly_images import encoded

WANTED = {path.split("/")[1]: path.split("/")[0] for path in sun09.wanted()}


def jpeg(seed: int) -> bytes:
    """A small noise image, different for every seed."""
    levels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return encoded(Image.fromarray(levels), "JPEG")


PHOTOGRAPHS = {name: jpeg(seed) for seed, name in enumerate(WANTED)}
FEW = {name: WANTED[name] for name in list(WANTED)[::20]}  # 58 images, for tests of faults


def add(archive: tarfile.TarFile, path: str, content: bytes = b"", **attributes) -> None:
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for name, value in attributes.items():
        setattr(info, name, value)
    archive.addfile(info, io.BytesIO(content))


def make_tar(names, mode: str = "w", top: str = "sun09/", extra=lambda archive: None) -> bytes:
    """An archive with the real layout: images lie flat among others, annotations in a twin folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        add(archive, f"{top}Images", type=tarfile.DIRTYPE)
        extra(archive)
        for seed, name in enumerate(names):
            add(archive, f"{top}Images/{IMAGE_FOLDER}/a_other_{seed}.jpg", b"not wanted" * 150)
            add(archive, f"{top}Annotations/{IMAGE_FOLDER}/{Path(name).stem}.xml", b"<annotation/>")
            add(archive, f"{top}Annotations/{name}", b"wrong folder")
            add(archive, f"{top}Images/{IMAGE_FOLDER}/{name}", PHOTOGRAPHS[name])
        add(archive, f"{top}Images/{'deep/' * 60}{IMAGE_FOLDER}/z_last.jpg", b"a name longer than a header")
    return stream.getvalue()


@pytest.fixture
def few(monkeypatch):
    """Only 58 images are wanted, and little is asked for at a time."""
    wanted = {f"{label}/{name}": "" for name, label in FEW.items()}
    monkeypatch.setattr(sun09, "wanted", lambda: wanted)
    monkeypatch.setattr(sun09, "PIECE", 2**14)
    return FEW


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def expected(names) -> dict[str, bytes]:
    """What the folder must hold in the end."""
    files = {f"{WANTED[name]}/{name}": PHOTOGRAPHS[name] for name in names}
    lines = [f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
    return files | {"checksums.sha256": "".join(lines).encode()}


def assert_nothing_half_written(out: Path) -> None:
    """Under its own name, that is: a process that is killed may leave a hidden file, which no reader takes."""
    for scene in CLASSES:
        for path in (out / scene).glob("[!.]*"):
            assert path.read_bytes() == PHOTOGRAPHS[path.name]


def test_whole_archive_over_the_web(server, tmp_path, capsys):
    server.content = make_tar(WANTED)
    out = tmp_path / "data_sun09"
    assert main(["--source", server.url, "--out", str(out)]) == 0
    assert tree(out) == expected(WANTED)
    with zipfile.ZipFile(tmp_path / "data_sun09.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == tree(out)
    said = capsys.readouterr().out
    assert re.search(r"coast +405 +405 +0\n", said) and re.search(r"total +1158 +1158 +0\n", said)
    subprocess.run(["sha256sum", "--check", "--quiet", "checksums.sha256"], cwd=out, check=True)

    before = [(p, p.stat().st_ino) for p in sorted(tmp_path.rglob("*.[jz]*"))]
    asked = len(server.asked)
    assert main(["--source", server.url, "--out", str(out)]) == 0  # again: changes nothing, asks for nothing
    assert before == [(p, p.stat().st_ino) for p in sorted(tmp_path.rglob("*.[jz]*"))]
    assert len(server.asked) == asked


def test_stops_as_soon_as_all_are_found(server, few, tmp_path):
    server.content = make_tar(few)
    server.claimed = len(server.content) + 5_000_000_000  # whoever reads on will miss these
    acquire(server.url, tmp_path / "out")
    assert tree(tmp_path / "out") == expected(few)


def stopped(server, out):
    """A first run, whose connection breaks off in the middle and doesn't come back."""
    server.content, server.drops = make_tar(FEW), [None] * 6 + [0] * 99
    with pytest.raises(AcquisitionError, match="What was found is kept"):
        acquire(server.url, out)
    server.drops.clear()
    server.asked.clear()


def test_next_run_continues(server, few, tmp_path):
    stopped(server, tmp_path / "out")
    kept = [path for path in tree(tmp_path / "out") if path.endswith(".jpg")]
    assert 0 < len(kept) < len(few)
    acquire(server.url, tmp_path / "out")
    assert tree(tmp_path / "out") == expected(few)
    assert server.asked[1] > 60_000


def test_changed_archive_is_read_from_the_start(server, few, tmp_path):
    stopped(server, tmp_path / "out")
    server.content, server.tag = make_tar(reversed(few)), '"two"'
    acquire(server.url, tmp_path / "out")
    assert tree(tmp_path / "out") == expected(few)


def test_deleted_image_is_fetched_again(server, few, tmp_path):
    stopped(server, tmp_path / "out")
    next((tmp_path / "out/coast").iterdir()).unlink()  # lies before the noted position
    acquire(server.url, tmp_path / "out")
    assert tree(tmp_path / "out") == expected(few)


def test_missing_images_are_listed_and_no_obstacle(server, few, tmp_path, capsys):
    absent, broken = list(few)[1:4], next(iter(few))
    server.content = make_tar(
        list(few)[4:], extra=lambda archive: add(archive, f"{IMAGE_FOLDER}/{broken}", b"no image")
    )
    for _ in range(2):
        server.asked.clear()
        assert main(["--source", server.url, "--out", str(tmp_path / "out")]) == 0
        listed = dict(line.split(": ", 1) for line in (tmp_path / "out/missing.txt").read_text().splitlines())
        assert listed.pop(f"{few[broken]}/{broken}").startswith("not an image")
        assert listed == {f"{few[name]}/{name}": "not in the source" for name in absent}
        assert "Missing: 4" in capsys.readouterr().out
    assert len(server.asked) <= 3, "the second run reads on where the first one ended"


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ({"statuses": [404]}, "the server answered 404"),
        ({"statuses": [500] * 9}, r"no way on after 2 more attempts \(the server answered 500"),
        ({"content": b"<html>moved</html>"}, "truncated or damaged, or something else"),
        ({"content": b"\0" * 10_240}, "found none of the 58"),
    ],
    ids=["404", "500", "no tar", "empty archive"],
)
def test_server_trouble_is_one_sentence_and_a_code(server, few, tmp_path, capsys, trouble, sentence):
    for name, value in trouble.items():
        setattr(server, name, value)
    assert main(["--source", server.url, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(sentence, said) and said.startswith("Expected ")
    assert not tree(tmp_path / "out")


@pytest.mark.parametrize("how", ["in an image", "between members", "damaged header"])
def test_truncated_or_damaged_archive_keeps_what_was_whole(server, few, tmp_path, how):
    whole = make_tar(few)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = [m for m in archive if (match(m.name, names()) or "/").split("/")[1] in few]
    middle = members[len(few) // 2]
    cut = {"in an image": middle.offset_data + 100, "between members": middle.offset}.get(how, len(whole))
    server.content = whole[:cut]
    if how == "damaged header":
        server.content = whole[: middle.offset] + b"garbage!" * 64 + whole[middle.offset + 512 :]
    with pytest.raises(AcquisitionError, match="What was found is kept"):
        acquire(server.url, tmp_path / "out")
    assert_nothing_half_written(tmp_path / "out")
    assert len([path for path in tree(tmp_path / "out") if path.endswith(".jpg")]) == len(few) // 2
    server.content, server.tag = whole, '"mended"'
    acquire(server.url, tmp_path / "out")
    assert tree(tmp_path / "out") == expected(few)


def test_hostile_members_do_no_harm(few, tmp_path):
    bomb, link, text, big = list(few)[:4]
    names = list(few)[4:]
    folder = f"sun09/Images/{IMAGE_FOLDER}"
    square = io.BytesIO()
    Image.new("1", (9000, 9000)).save(square, "PNG")  # 81 megapixels in 10 kB

    def hostile(archive):
        add(archive, f"/etc/{IMAGE_FOLDER}/{names[0]}", b"absolute")
        add(archive, f"{folder}/../../../{IMAGE_FOLDER}/{names[0]}", b"upwards")
        add(archive, f"../{names[1]}", b"upwards")
        add(archive, f"{folder}/{bomb}", square.getvalue())
        add(archive, f"{folder}/{link}", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, f"{folder}/{text}", b"#!/bin/sh\nrm -rf ~\n")
        add(archive, f"{folder}/{big}", bytes(MAX_BYTES + 1))
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            add(archive, f"{folder}/{names[2]}", type=kind, linkname="x")
        add(archive, f"{folder}/{names[2]}", PHOTOGRAPHS[names[2]])
        add(archive, f"{folder}/{names[2]}", PHOTOGRAPHS[names[0]])  # the first one counts

    (tmp_path / "sun09.tar").write_bytes(make_tar(names, extra=hostile))
    acquire(str(tmp_path / "sun09.tar"), tmp_path / "out")
    result = tree(tmp_path / "out")
    listed = result.pop("missing.txt").decode()
    assert result == expected(names) and len(listed.splitlines()) == 4
    assert f"{bomb}: 9000x9000 pixels" in listed or f"{bomb}: more than 64 megapixels" in listed
    assert f"{link}: not in the source" in listed
    assert f"{text}: not an image" in listed
    assert f"{big}: claims {MAX_BYTES + 1} bytes" in listed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sun09.tar"]
    assert all(not path.is_symlink() for path in tmp_path.rglob("*"))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_archives_with_flipped_bytes_never_leave_anything_but_images(data, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("flipped")
    content = bytearray(make_tar(list(FEW)[:5]))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.tar").write_bytes(content)
    with contextlib.suppress(AcquisitionError):
        acquire(str(tmp_path / "a.tar"), tmp_path / "out")
    for path in tree(tmp_path / "out"):
        assert path in {f"{scene}/{name}" for name, scene in WANTED.items()} | {
            "checksums.sha256",
            "missing.txt",
        }
        if path.endswith(".jpg"):
            with Image.open(tmp_path / "out" / path) as image:
                image.load()


@given(
    st.lists(
        st.sampled_from(["..", ".", "", IMAGE_FOLDER, "coast", *list(WANTED)[:3], "\\", "\0"])
        | st.text(max_size=9),
        max_size=6,
    )
)
def test_only_wanted_names_in_known_folders_match(parts):
    path = "/".join(parts)
    name = match(path, names())
    if name is not None:
        label, name = name.split("/")
        assert WANTED[name] == label and Path(path).name == name and ".." not in parts and path[0] != "/"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\\\0."), min_size=1), max_size=4))
def test_what_lies_above_the_folder_does_not_matter(top):
    name, scene = next(iter(WANTED.items()))
    assert match("/".join([*top, IMAGE_FOLDER, name]), names()) == f"{scene}/{name}"
    assert match("/".join([*top, scene, name]), names()) == f"{scene}/{name}"
    assert match("/".join([*top, "Annotations", name]), names()) is None


def local_source(kind: str, folder: Path) -> Path:
    """The 58 images in one of the forms that people have them in."""
    if kind.startswith("tar"):
        path = folder / f"sun09.{kind}"
        path.write_bytes(make_tar(FEW, mode=f"w:{kind[4:]}", top="other/"))
        return path
    if kind == "zip":
        with zipfile.ZipFile(folder / "data_sun09.zip", "w") as archive:
            archive.writestr("../coast/evil.jpg", b"evil")
            for name, scene in FEW.items():
                archive.writestr(f"data_sun09/{scene}/{name}", PHOTOGRAPHS[name])
        return folder / "data_sun09.zip"
    for name, scene in FEW.items():
        place = {"class folders": scene, "flat folder": "", "unpacked": f"Images/{IMAGE_FOLDER}"}[kind]
        (folder / "source" / place).mkdir(parents=True, exist_ok=True)
        (folder / "source" / place / name).write_bytes(PHOTOGRAPHS[name])
    (folder / "source" / "broken.jpg").symlink_to("nowhere")
    return folder / "source"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "class folders", "flat folder", "unpacked"])
def test_sources_at_hand(few, tmp_path, kind):
    archive = tmp_path / "data_sun09.zip"  # or the source, which is left as it is
    acquire(str(local_source(kind, tmp_path)), tmp_path / "out", archive)
    assert tree(tmp_path / "out") == expected(few)
    acquire(str(archive), tmp_path / "again")  # what it ships, it reads
    assert tree(tmp_path / "again") == expected(few)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere.tar", "found nothing"),
        ("cut.zip", "damaged"),
        ("odd.zip", r"damaged one \(zip file version 25.5\)"),
    ],
)
def test_bad_sources_are_one_sentence(few, tmp_path, monkeypatch, source, sentence):
    monkeypatch.chdir(tmp_path)
    whole = local_source("zip", tmp_path).read_bytes()
    Path("cut.zip").write_bytes(whole[: len(whole) // 2])
    Path("odd.zip").write_bytes(whole.replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xff"))
    with pytest.raises(AcquisitionError, match=sentence):
        acquire(source, tmp_path / "out")


def test_a_full_disk_is_one_sentence_and_leaves_whole_files(few, tmp_path, monkeypatch, capsys):
    source = local_source("tar", tmp_path)
    real, calls = Path.write_bytes, iter(range(1000))

    def failing(path, content):
        if next(calls) == 9:
            real(path, content[:50])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", failing)
    assert main(["--source", str(source), "--out", str(tmp_path / "out")]) == 1
    monkeypatch.undo()
    assert "No space left on device. What was found is kept. Make room, or name" in capsys.readouterr().err
    assert_nothing_half_written(tmp_path / "out")
    assert len(tree(tmp_path / "out")) == 9


def test_file_in_place_of_the_folder_is_one_sentence(few, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["--source", str(local_source("tar", tmp_path)), "--out", str(tmp_path / "out")]) == 1
    assert "found: File exists. What was found is kept. Make room, or name another" in capsys.readouterr().err


def test_of_two_runs_at_once_one_waits_and_nothing_is_lost(few, tmp_path):
    source = str(local_source("tar", tmp_path))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: acquire(source, tmp_path / "out"), range(2)))
    assert tree(tmp_path / "out") == expected(few)


def test_what_a_killed_run_left_is_cleared_away(few, tmp_path):
    for place in ("out/coast", "out", "."):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / f".{'0' * 32}-out.zip").write_bytes(b"half")
    acquire(str(local_source("tar", tmp_path)), tmp_path / "out", tmp_path / "out.zip")
    assert not list(tmp_path.rglob(".*"))


def test_ctrl_c_says_how_to_go_on(server, few, tmp_path, capsys, monkeypatch):
    server.content = make_tar(few)
    real, calls = collection.read_image, iter(range(1000))

    def interrupted(member):
        if next(calls) == 30:
            raise KeyboardInterrupt
        return real(member)

    monkeypatch.setattr(collection, "read_image", interrupted)
    assert main(["--source", server.url, "--out", str(tmp_path / "out")]) == 130
    assert "same command continues" in capsys.readouterr().err
    server.asked.clear()
    assert main(["--source", server.url, "--out", str(tmp_path / "out")]) == 0
    assert tree(tmp_path / "out") == expected(few)
    assert server.asked[1] > 60_000


def test_killed_between_writing_and_renaming(server, few, tmp_path, monkeypatch):
    server.content = make_tar(few)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:  # the child inherits it
        patch.setattr(Path, "replace", lambda *paths: os.kill(os.getpid(), signal.SIGKILL))
        run = multiprocessing.get_context("fork").Process(target=acquire, args=(server.url, out))
        run.start()
        run.join()
    assert run.exitcode == -signal.SIGKILL
    (left,) = (path for path in out.rglob("*") if path.is_file())
    assert left.name.startswith(".")
    acquire(server.url, out)
    assert tree(out) == expected(few)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_kill_9_at_any_moment(server, few, tmp_path, moment):
    server.content, server.throttle = make_tar(few), 0.005  # a whole run takes about a third of a second
    arguments = (server.url, tmp_path / "out", tmp_path / "out.zip")
    run = multiprocessing.get_context("fork").Process(target=acquire, args=arguments)
    run.start()
    time.sleep(random.Random(moment).uniform(0.0, 0.4))
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    if (tmp_path / "out").exists():
        assert_nothing_half_written(tmp_path / "out")
    server.throttle = 0
    acquire(*arguments)
    assert tree(tmp_path / "out") == expected(few)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.zip"]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None and len(archive.namelist()) == len(few) + 1


def test_images_that_are_not_the_studys_are_named(few, tmp_path, monkeypatch, capsys):
    first, second, *_ = few
    wanted = dict(sun09.wanted())
    wanted[f"{few[first]}/{first}"] = hashlib.sha256(PHOTOGRAPHS[first]).hexdigest()
    wanted[f"{few[second]}/{second}"] = "0" * 64
    monkeypatch.setattr(sun09, "wanted", lambda: wanted)
    assert main(["--source", str(local_source("tar", tmp_path)), "--out", str(tmp_path / "out")]) == 0
    assert f"Not the study's files, byte for byte: {few[second]}/{second}." in capsys.readouterr().out


def test_with_split_it_goes_on_with_what_it_got(few, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(sun09.split, "main", lambda arguments: calls.append(arguments) or 0)
    assert (
        main(["--source", str(local_source("tar", tmp_path)), "--out", str(tmp_path / "out"), "--split"]) == 0
    )
    assert calls == [["--source", str(tmp_path / "out")]]


def test_a_whole_disk_is_no_folder_to_fill(few, capsys):
    assert main(["--source", "nowhere.tar", "--out", "/"]) == 1
    assert "a whole disk. Name one with --out" in capsys.readouterr().err
