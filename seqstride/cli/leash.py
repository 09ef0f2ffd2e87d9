"""`python -m seqstride.cli.leash …` runs `seqstride …` and ends together with the process that started it.

The parent process holds the other end of the standard input and never writes to it. When the parent ends, even by
SIGKILL, the system closes that end; a read here then returns, and this process exits.
"""

from __future__ import annotations

import os
import sys
import threading


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()

    from seqstride.cli import main

    sys.exit(main())
