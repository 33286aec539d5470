"""How a process of ours ends: a mistake or an interruption is one line on standard error, and an exit code."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from asr_adapt.errors import InputError, Interrupted

_INTERRUPTED = "interrupted; the same command resumes what can be resumed"
_CODE_OF_SIGINT = 128 + signal.SIGINT


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an `InputError` into one line and exit code 2, an interruption into one line and 128 plus the signal."""
    try:
        yield
    except (InputError, Interrupted, KeyboardInterrupt) as error:
        raise SystemExit(_report(error)) from None


def guard_recipe_script() -> None:
    """End a recipe script with one line at Ctrl-C while it imports, and at a wrong field of its recipe.

    Does nothing where no recipe script runs: where the outermost code is a notebook's or another program's.
    """
    if not _is_recipe_script() or sys.excepthook is _report_and_exit:
        return
    sys.excepthook = _report_and_exit
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with contextlib.suppress(ValueError):  # not in the main thread, which alone sets handlers
            signal.signal(signal.SIGINT, _exit_now)


def begin_work() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, so that what is half-done is cleaned up."""
    if signal.getsignal(signal.SIGINT) is _exit_now:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_recipe_script() -> bool:
    """Whether this process runs a script that ends with `run_recipe`."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals.get("__name__") == "__main__" and "run_recipe" in frame.f_code.co_names


def _exit_now(*_: object) -> None:
    """Leave at once: during imports there is nothing to clean up, and an exception may be swallowed there."""
    os.write(2, f"{_INTERRUPTED}\n".encode())
    os._exit(_CODE_OF_SIGINT)


def _report(error: BaseException) -> int:
    """Print the one line of an error, and return the exit code."""
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, lambda *_: os._exit(_CODE_OF_SIGINT))  # again, while threads and buffers close
    line = str(error) if isinstance(error, Interrupted) else _INTERRUPTED
    if line:
        print(line, file=sys.stderr)
    return error.exit_code if isinstance(error, Interrupted) else _CODE_OF_SIGINT


def _report_and_exit(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    """As `sys.excepthook`: CPython takes the code of a `SystemExit` that is raised in it."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        from asr_adapt.recipe import Recipe, field_error, section_names

        if error.title in {Recipe.__name__, *section_names()}:
            error = field_error(error, Path(sys.argv[0]))
    if isinstance(error, InputError | Interrupted | KeyboardInterrupt):
        raise SystemExit(_report(error))
    sys.__excepthook__(kind, error, trace)
