"""Archives, as people have them and as an attacker makes them: memory stays flat, damage is a sentence."""

import gc
import gzip
import io
import tarfile
import tracemalloc
import zipfile

import pytest

from data_prep_eda.archives import AcquisitionError, members_on_disk, read_image
from data_prep_eda.preprocessing import MAX_BYTES

PACKERS = {"": bytes, ".gz": gzip.compress}


def write_tar(path, form, pack, content=b"x" * 1000):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name in ("a.jpg", "deep/" * 60 + "b.jpg", "k\u00fcste/\udcfc.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    path.write_bytes(pack(stream.getvalue()))
    return path


def listed(path):
    return [(member.path, member.read()) for member in members_on_disk(path)]


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_are_read_as_tarfile_reads_them(tmp_path, pack, form):
    path = write_tar(tmp_path / f"a.tar{pack}", form, PACKERS[pack])
    with tarfile.open(path) as archive:
        expected = [(info.name, archive.extractfile(info).read()) for info in archive if info.isreg()]
    assert listed(path) == expected


def peak(path):
    """Faults of all members, and the bytes of memory that it took to find them."""
    tracemalloc.start()
    faults = {read_image(member)[1] for member in members_on_disk(path)}
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return faults, memory


def test_what_unpacks_to_much_takes_no_memory(tmp_path):
    info = tarfile.TarInfo("big.jpg")
    info.size = 2**26
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(2**26) + bytes(1024)))
    faults, memory = peak(tmp_path / "a.tar.gz")
    assert faults == {f"claims {2**26} bytes, more than an image has"}
    assert memory < 2**24


def test_a_member_of_a_zip_that_unpacks_to_more_than_it_claims_takes_no_memory(tmp_path):
    path = zipped(tmp_path / "a.zip", bytes(2**28))
    path.write_bytes(path.read_bytes().replace((2**28).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert peak(path)[1] < 2 * MAX_BYTES + 2**24


def test_members_without_number_take_no_memory(tmp_path):
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as target:
        for number in range(5000):
            target.write(tarfile.TarInfo.create_pax_global_header({f"key{number}": "x" * 200}))
            target.write(tarfile.TarInfo("a.jpg").tobuf())
        target.write(bytes(1024))
    assert peak(tmp_path / "a.tar.gz")[1] < 2**20


def test_headers_of_a_sparse_file_are_passed_over_however_many_they_are(tmp_path):
    info = tarfile.TarInfo("sparse.jpg")
    info.type, info.size = b"S", 512
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[482] = 1
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:]) + 8 * 32)
    more, last = bytearray(512), bytes(512)
    more[504] = 1
    (tmp_path / "a.tar").write_bytes(bytes(head) + bytes(more) * 5000 + last + bytes(512) + bytes(1024))
    assert listed(tmp_path / "a.tar") == []


@pytest.mark.parametrize(
    ("kind", "size", "form", "sentence"),
    [
        (tarfile.XHDTYPE, 6 * 2**30, tarfile.USTAR_FORMAT, "a header claims 6442450944 bytes"),
        (tarfile.REGTYPE, 2**42, tarfile.GNU_FORMAT, "it ends too early"),
        (tarfile.REGTYPE, -4096, tarfile.PAX_FORMAT, "a header points backwards"),
    ],
)
def test_absurd_sizes_are_refused(tmp_path, kind, size, form, sentence):
    info = tarfile.TarInfo("a.jpg")
    info.type, info.size = kind, size
    (tmp_path / "a.tar.gz").write_bytes(
        gzip.compress(tarfile.TarInfo().tobuf() + info.tobuf(form) + bytes(20_480))
    )
    with pytest.raises(AcquisitionError, match=sentence):
        [read_image(member) for member in members_on_disk(tmp_path / "a.tar.gz")]


@pytest.fixture
def no_finalizers():
    """`tarfile` goes down to Python's recursion limit, where a finalizer of something else would fail."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_headers_without_end_are_refused(tmp_path, no_finalizers):
    info = tarfile.TarInfo("a.jpg")
    info.type = tarfile.XHDTYPE
    for number in (5_000, 50_000):
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() * number + bytes(1024)))
        with pytest.raises(AcquisitionError, match="Expected a whole tar archive"):
            listed(tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", bytes(100), b"\xfd7zXZ\0" * 99, b"\x1f\x8b" * 99]
)
def test_what_is_no_archive_is_a_sentence(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(AcquisitionError, match="Expected a whole tar archive"):
        listed(tmp_path / "a.tar")


def zipped(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("first.jpg", content)
        archive.writestr("second.jpg", b"whole")
    return path


def test_a_damaged_member_of_a_zip_is_named_and_the_next_one_read(tmp_path):
    path = zipped(tmp_path / "a.zip", bytes(range(256)) * 40)
    path.write_bytes(path.read_bytes().replace(path.read_bytes()[45:60], b"\xff" * 15))
    first, second = (read_image(member)[1] for member in members_on_disk(path))
    assert "unreadable in its archive" in first and "not an image" in second


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bounds_are_named(tmp_path, method):
    members = members_on_disk(zipped(tmp_path / "a.zip", b"x" * 999, method))
    assert "unpack it and name the folder" in read_image(next(members))[1]


def test_a_zip_whose_directory_is_huge_is_refused_before_it_is_read(tmp_path):
    path = zipped(tmp_path / "a.zip", b"x")
    content = bytearray(path.read_bytes())
    content[-10:-6] = (2**25).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(AcquisitionError, match="its directory takes 33554432 bytes"):
        listed(path)
