"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives the path to write to inside; then the file takes the place of `path` at once.

    Raises:
        OSError: it could not be written, such as on a full disk; what was at `path` before is still there.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch's writer
        part.unlink(missing_ok=True)
        raise OSError(f"{os.fspath(path)!r} could not be written: {error}") from error
