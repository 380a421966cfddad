"""Splits the images and writes `data/{train,validation,test}/<class>/`, ready for training.

    python -m data_prep_eda.split                    # the study's split of data_prep_eda/data_sun09
    python -m data_prep_eda.split --rule grouped     # near-duplicates and series stay together

The rule `study` is the original project's, the default for SUN 09, so that results compare; notebook 02 shows what it
leaks. By `grouped`, the default for any other images, what belongs together lands in one split.
"""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

import argparse
import contextlib
import csv
import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from data_prep_eda.cache import REPOSITORY
from data_prep_eda.dataset import Dataset, DatasetError, first_ten, label_key, load_dataset, printable
from data_prep_eda.duplicates import connected, groups, related
from data_prep_eda.files import one_at_a_time
from data_prep_eda.manifests import SPLITS
from data_prep_eda.split_rules import grouped_split, study_split, study_splits
from data_prep_eda.zips import write_zip

MANIFEST_NAME = "manifest.csv"
COLUMNS = ("path", "name", "label", "split", "bytes", "sha256")
ENCODING = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # of the manifest


def prepare(
    images: Sequence[tuple[Path, str, str]],
    out: Path,
    archive: Path | None,
    report: Callable[[str], None] = lambda line: None,
) -> bool:
    """Writes the split folders with their manifest, and the same as a zip file; an interrupted run changes nothing.

    Args:
        images: source file, label and split of each.
        out: folder to write, with `<split>/<label>/<name>` and `manifest.csv` in it.
        archive: zip file to write, or None for none.
        report: called with a sentence about what was done.

    Returns:
        Whether anything was written; not if all is there already.

    Raises:
        DatasetError: two images have one name, or `out` holds others' files, which are left alone.
    """
    sources: dict[str, Path] = {}
    rows: dict[str, dict[str, str]] = {}
    for source, label, split in images:
        inside = [label_key(folder) for folder in source.parts[:-1]]
        depth = inside[::-1].index(label_key(label)) if label_key(label) in inside else 0
        path = "/".join((split, label, *source.parts[len(inside) - depth :]))  # subfolders of a class stay
        if path in sources:
            twins = f"{sources[path]} and {source}"
            raise DatasetError(f"Expected every image once, found {path} twice: {twins}. Rename one.")
        sources[path] = source
        values = (path, source.name, label, split, str(source.stat().st_size), _sha256(source))
        rows[path] = dict(zip(COLUMNS, values, strict=True))
    rows = dict(sorted(rows.items()))

    _recover(out)
    known = _manifest(out)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    foreign = sorted(path for path in files if Path(path).name not in (".DS_Store", "Thumbs.db"))
    if foreign := [path for path in foreign if path not in (*known, MANIFEST_NAME)]:
        found = f"found {first_ten(foreign)}. Move that away, or name another folder with --out"
        raise DatasetError(f"Expected {out} to hold only what this command wrote, {found}.")
    whole = all(path in files and _sha256(out / path) == row["sha256"] for path, row in rows.items())
    if changed := known != rows or not whole:
        _replace(out, rows, sources)
        report(f"{out}: {len(rows)} images, copied, and {MANIFEST_NAME}")
    if archive and write_zip(archive, [(path, out / path) for path in (*rows, MANIFEST_NAME)]):
        report(f"{archive}: the same, {archive.stat().st_size / 1e6:.1f} MB")
        return True
    return changed


def _replace(out: Path, rows: dict[str, dict[str, str]], sources: dict[str, Path]) -> None:
    """Builds the folders beside `out` from copies and swaps them in: who edits there edits no original."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for path, source in sources.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part / path)
        with (part / MANIFEST_NAME).open("w", **ENCODING) as stream:
            writer = csv.DictWriter(stream, COLUMNS)  # its line ends make it quote names that hold one
            writer.writeheader()
            writer.writerows(rows.values())
        if out.exists():
            out.rename(_previous(out))
        part.rename(out)
    finally:
        _recover(out)
        shutil.rmtree(part, ignore_errors=True)


def _previous(out: Path) -> Path:
    return out.with_name(f".{out.name}.previous")


def _recover(out: Path) -> None:
    """Clears the old folders away, or brings them back where the new ones did not take their place."""
    if _previous(out).exists() and not out.exists():
        _previous(out).rename(out)
    shutil.rmtree(_previous(out), ignore_errors=True)


def _manifest(out: Path) -> dict[str, dict[str, str]]:
    """The rows of a folder's manifest by path; none if it has no manifest."""
    with contextlib.suppress(OSError, csv.Error), (out / MANIFEST_NAME).open("r", **ENCODING) as stream:
        return {row["path"]: row for row in csv.DictReader(stream) if row.get("path")}
    return {}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def zip_beside(out: Path, named: Path | None) -> Path:
    """The zip file that is written beside a folder, or the one that was named, unless it lies where none may."""
    if out == out.parent:
        raise DatasetError(f"Expected a folder to write, found {out}, a whole disk. Name one with --out.")
    archive = (named or out.with_name(f"{out.name}.zip")).expanduser().absolute()
    if archive.resolve().is_relative_to(out.resolve()):
        found = f"found {archive}. Name another place with --zip"
        raise DatasetError(f"Expected the zip file outside of the folder that it packs, {found}.")
    return archive


def _seed(text: str) -> int:
    if not 0 <= (seed := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 4294967295, found {text}")
    return seed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser("python -m data_prep_eda.split", description=__doc__.splitlines()[0])
    add = parser.add_argument
    sun09 = REPOSITORY / "data_prep_eda" / "data_sun09"
    add("--source", type=Path, default=sun09, help="folder of class folders (default: %(default)s)")
    add("--out", type=Path, default=REPOSITORY / "data", help="folder to write")
    add("--zip", type=Path, help="zip file to write (default: OUT.zip)")
    add("--no-zip", action="store_true", help="write no zip file")
    add("--rule", choices=("study", "grouped"), help="default: study for SUN 09, grouped for other images")
    add("--seed", type=_seed, default=20, help="which split the grouped rule makes (default: 20)")
    options = parser.parse_args(arguments)

    source, out = options.source.expanduser(), options.out.expanduser().absolute()
    if not source.is_dir():
        what = "found no such folder. Run `python -m data_prep_eda.sun09` first, or name a folder of class folders"
        print(f"Expected images in {printable(source)}, {what}: --source FOLDER.", file=sys.stderr)
        return 2
    try:
        archive = zip_beside(out, options.zip)
        if out.resolve().is_relative_to(source.resolve()):
            found = f"found {out}, which the next run would take for a class. Name another one with --out"
            raise DatasetError(f"Expected a folder outside of {source}, {found}.")
        data = load_dataset(str(source))
        frame = pd.concat([data.images, data.others], ignore_index=True)
        frame["split"] = _splits(data, frame, options.rule, options.seed)
        print(pd.crosstab(frame["label"], frame["split"])[list(SPLITS)].to_string())
        for row in data.rejected.itertuples():
            print(f"left out: {printable(row.path)}: {row.reason}", file=sys.stderr)
        for note in data.notes:
            print(note, file=sys.stderr)
        images = [(Path(row.path), row.label, row.split) for row in frame.itertuples()]
        with one_at_a_time(out.parent):  # two would clear each other's unfinished folders away
            changed = prepare(images, out, None if options.no_zip else archive, report=print)
    except DatasetError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        place = error.filename or options.out
        print(f"Cannot write {place}: {error.strerror}. What was there before is unchanged.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was there before is unchanged.", file=sys.stderr)
        return 130
    if not changed:
        print(f"{options.out}: nothing to do, it already holds these {len(frame)} images.")
    return 0


def _splits(data: Dataset, frame: pd.DataFrame, rule: str | None, seed: int) -> Sequence[str]:
    """The split of each image by a rule; None for that of the data set."""
    own = data.source == "own"
    if rule == "grouped" and own:
        pairs = [pair[:2] for pair in related(frame["path"], frame["label"])]
        return grouped_split(frame["label"], connected(len(frame), pairs), seed)
    if rule == "grouped":
        return grouped_split(frame["label"], groups(frame["path"]), seed)
    if rule == "study" and own:
        splits = frame.groupby("label")["name"].transform(lambda names: names.map(study_split(names)))
        return frame["name"].map(study_splits()).fillna(splits)
    return frame["split"]


if __name__ == "__main__":
    interruption.run(main)
