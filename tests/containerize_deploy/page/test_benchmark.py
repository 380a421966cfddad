"""The page's benchmark: it measures in Chromium, and the page's answers are the service's."""

import re
import subprocess
import sys

import pytest

from containerize_deploy.page import benchmark, website
from containerize_deploy.scene_model import MODEL_FILE


@pytest.mark.slow
def test_it_measures_and_the_page_agrees_with_python():
    try:
        report = benchmark.measure(MODEL_FILE, [benchmark.SAMPLE], visits=1)
    except website.PageError as error:
        pytest.skip(str(error))
    assert re.search(r"^\| sample \| 120 \| 100\.00% \| 100\.00% \| 0\.00", report, re.MULTILINE)
    assert re.search(r"^\| over the wire, first visit \(gzip\) \| \d\.\d\d MB \|$", report, re.MULTILINE)


def test_folders_that_are_not_there_are_a_sentence(tmp_path):
    command = [sys.executable, "-m", "containerize_deploy.page.benchmark", "--images", tmp_path / "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Expected folders of images, found none at ")
