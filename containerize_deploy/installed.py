"""Whether the few packages are installed that a model needs to run; nothing is imported here but Python's own."""

import importlib.util
import shlex
import sys
from pathlib import Path

PACKAGES = ("ai_edge_litert", "idna", "numpy", "PIL", "simplejpeg")  # the modules of requirements.in


def require_packages() -> None:
    """Ends a command in a sentence where `PACKAGES` are not all installed."""
    if absent := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        requirements = Path(__file__).with_name("requirements.txt")
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "-r", str(requirements)]
        sys.exit(
            f"Expected what a model needs to run, found no {', '.join(absent)}. This installs it, without TensorFlow:\n    "
            + shlex.join(command)
        )
