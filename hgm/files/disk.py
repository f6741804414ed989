"""Files opened for reading only, and files replaced as a whole or not at all."""

from __future__ import annotations

import glob
import os
import reprlib
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# Lists that hold each other twice, 40 deep, are 1 kB in a file, and 2^40 numbers when written out.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict, _SHORT.maxset = 2, 12, 8, 12, 4
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def brief(value: Any) -> str:
    """What a file says, on one line and short enough for a message."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:  # such as an int of 5000 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def quoted(name: str) -> str:
    """A name that a file gives, as messages show names."""
    return f"`{brief(name)[1:-1]}`"


def opened(path: str | Path, what: str) -> BinaryIO:
    """A file, opened for reading only.

    Args:
        path: The file.
        what: What is expected there, such as ``"a geometry"``, for the message.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is a folder or a device, is empty, or may not be read.
    """
    try:
        status = os.stat(path)
        # A pipe or a device would be waited for, or never end.
        if stat.S_ISREG(status.st_mode) and status.st_size:
            return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"There is no file `{path}`: expected {what}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"Expected `{path}` to be {what}, but it cannot be read: {reason}."
        ) from None
    kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file"
    kind = "is empty" if stat.S_ISREG(status.st_mode) else kind
    raise ValueError(f"Expected `{path}` to be {what}, but it {kind}.")


@contextmanager
def replacing(path: str | Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """A file to be written in place of `path`: there is the former one or the new one, never less.

    It is written beside `path`, brought to the disk, and only then renamed. What a process that was
    killed meanwhile left beside it is removed by the next one.

    Args:
        path: The file to replace.
        keep: Where the former file goes; None: nowhere.

    Raises:
        OSError: If it cannot be written, naming `path`; the former file is then still there.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    former = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is None or not path.exists():
            os.replace(draft, path)
        else:
            _link(path, former, keep)
            os.replace(draft, path)
            if former.exists():
                os.replace(former, keep)
        _bring_to_disk(path.parent)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        former.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    drafts_removed(path)


def _link(path: Path, former: Path, keep: Path) -> None:
    """Holds the file under a second name, so that the new one can take the first."""
    former.unlink(missing_ok=True)
    try:
        os.link(path, former)
    except OSError:  # a file system without links: the former file is then away for a moment
        os.replace(path, keep)


def _bring_to_disk(folder: Path) -> None:
    if os.name == "posix":  # elsewhere folders cannot be opened
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def drafts_removed(path: Path) -> None:
    """Removes the drafts of a file or folder that processes left which are no more."""
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = other.name.removeprefix(f".{path.name}.").split(".")[0]
        if process.isdecimal() and not _runs(int(process)):
            if other.is_dir() and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    if os.name != "posix":  # there, asking would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
