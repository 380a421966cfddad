"""Ctrl-C ends a command in one line and with exit code 130, also while it still imports what it needs.

A command, if it is the program, calls `interruption.expect()` before its other imports, and `interruption.run(main)` last.
"""

import io
import os
import signal
import sys
from collections.abc import Callable

EXIT_CODE = 130  # as shells report a program that SIGINT ended


def expect() -> None:
    """From now on Ctrl-C ends the process at once: nothing has been begun that would have to be put away."""

    def leave(*_: object) -> None:
        os.write(2, b"\nInterrupted.\n")
        os._exit(EXIT_CODE)

    signal.signal(signal.SIGINT, leave)


def run(main: Callable[[], int]) -> None:
    """Runs a command's main function, in which Ctrl-C is a `KeyboardInterrupt`, and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for names that the shell's encoding doesn't have
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        code = EXIT_CODE
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is Python's own clearing up
    sys.exit(code)
