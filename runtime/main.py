"""The `edgepress` command, before anything large is imported."""

import gc


def main() -> None:
    """Run the command line; bad input ends in one line on stderr and exit code 1, never a traceback."""
    collects = gc.isenabled()
    # Imports make many objects and hardly any garbage. Looking for it on the way, and in all of them once more at the end,
    # would take as long as decoding a small image; commands that work for longer turn it on again.
    gc.disable()
    try:
        from .commands import run

        run()
    finally:
        gc.freeze()  # what is there now is not looked at when the process ends
        if collects:
            gc.enable()
