"""Whether the few packages are installed that a model needs to run; nothing is imported here but Python's own."""

import importlib.util
import shlex
import sys
from pathlib import Path

PACKAGES = ("ai_edge_litert", "idna", "numpy", "PIL", "simplejpeg")  # the modules of requirements.in


def require_packages(*others: str) -> None:
    """Ends a command in a sentence where something that it imports is not installed.

    Args:
        others: further modules that it needs, each of a package of the same name.
    """
    absent = [name for name in (*PACKAGES, *others) if importlib.util.find_spec(name) is None]
    if not absent:
        return
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    commands = [f"{pip} {name}" for name in absent if name in others]
    if set(absent) - set(others):
        requirements = Path(__file__).with_name("requirements.txt")
        commands.insert(0, f"{pip} --no-deps -r {shlex.quote(str(requirements))}")
    sys.exit(
        f"Expected what a model needs to run, found no {', '.join(absent)}. This installs it, without TensorFlow:\n    "
        + "\n    ".join(commands)
    )
