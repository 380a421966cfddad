"""Ctrl-C ends a command in one line and with exit code 130, also while it still imports what it needs.

A command starts with `from data_prep_eda import interruption` and, if it is the program, `interruption.expect()`, before
its other imports; and it ends with `interruption.run(main)`.
"""

import io
import os
import signal
import sys
from collections.abc import Callable

EXIT_CODE = 130  # as shells report a program that SIGINT ended


def expect() -> None:
    """From now on Ctrl-C ends the process at once: nothing has been begun that would have to be put away."""
    signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    os.write(2, b"\nInterrupted.\n")
    os._exit(EXIT_CODE)


def run(main: Callable[[], int]) -> None:
    """Runs a command's main function, in which Ctrl-C is a `KeyboardInterrupt`, and exits with its code.

    Names that the shell's encoding doesn't have are printed with escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        code = EXIT_CODE
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is Python's own clearing up
    sys.exit(code)
