"""`python -m seqstride.cli.leash …`: the command `seqstride …`, which ends when the process that started it ends.

That process holds the other end of the standard input and writes nothing to it. However it ends, by SIGKILL too, the
system closes this end, and reading meets the end of the file.
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
