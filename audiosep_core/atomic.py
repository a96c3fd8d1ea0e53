"""Files and folders that get their names only when they are whole.

Whatever this project writes is written beside its place, as ``.NAME.XXXXXXXX.part``, and renamed
at the end. An error, or a signal that ends the process in good order, removes it. What a process
left that was killed outright is removed when the same name is written again: whoever is still
at work holds a lock.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The longest name, in bytes, that file systems in use take.
_LONGEST_NAME = 255
_PREFIX, _ENDING, _MARK_BYTES = ".", ".part", 4
_LONGEST_STEM = _LONGEST_NAME - len(_PREFIX) - len(_ENDING) - 2 * _MARK_BYTES - 1


class Partial:
    """A new file or folder beside its place, until :meth:`commit` or :meth:`discard`.

    Args:
        target: The name it will get.
        folder: Make a folder instead of a file.
        mode: Permissions of a file, less those that the process masks.

    Attributes:
        target: The name it will get.
        path: Where it lies; a file is empty at first.

    Raises:
        OSError: It cannot be made, or the target is neither a file nor missing.
    """

    def __init__(self, target: Path, *, folder: bool = False, mode: int = 0o666) -> None:
        self.target = target
        self._folder = folder
        if target.exists() and not (target.is_dir() if folder else target.is_file()):
            raise OSError(errno.EEXIST, "something else than a file of that kind is there")
        remove_stale(target)
        self._lock = -1
        while self._lock < 0:
            name = f"{_stem(target)}.{secrets.token_hex(_MARK_BYTES)}{_ENDING}"
            self.path = target.with_name(name)
            if folder:
                self.path.mkdir()
            else:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            self._lock = _lock(self.path)

    def commit(self) -> None:
        """Give it its name; a file that has it is replaced, a folder too.

        Raises:
            OSError: It cannot be renamed.
        """
        if self._folder and self.target.is_dir() and any(self.target.iterdir()):
            old = self.path.with_name(f"{_stem(self.target)}.{secrets.token_hex(4)}{_ENDING}")
            self.target.rename(old)
            self.path.rename(self.target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            if self._folder and self.target.is_dir():
                self.target.rmdir()
            self.path.replace(self.target)
        self._unlock()

    def discard(self) -> None:
        """Remove it; does nothing after :meth:`commit`."""
        if self._lock == -2:
            return
        _remove(self.path)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -2


@contextmanager
def replacing(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """A file to write, which gets its name when the block ends, and goes if it fails.

    Args:
        target: The name it will get.
        mode: Its permissions, less those that the process masks.

    Raises:
        OSError: It cannot be made or renamed.
    """
    yield from _written(Partial(target, mode=mode))


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when the block ends, and goes if it fails.

    Raises:
        OSError: It cannot be made or renamed.
    """
    yield from _written(Partial(target, folder=True))


def _written(partial: Partial) -> Iterator[Path]:
    try:
        yield partial.path
        partial.commit()
    finally:
        partial.discard()


def remove_stale(target: Path) -> bool:
    """Remove what processes that were killed left of a file or folder of that name.

    Returns:
        Whether nothing is left: what a process holds that still lives, or is dying, stays.
    """
    held = False
    for path in target.parent.glob(f"{glob.escape(_stem(target))}.*{_ENDING}"):
        lock = _lock(path, wanted=False)
        if lock >= 0 or sys.platform == "win32":
            # Windows refuses to remove a file that somebody has open.
            _remove(path)
        held |= path.exists()
        if lock >= 0:
            os.close(lock)
    return not held


def is_partial(path: Path) -> bool:
    """Whether a name is one that an unfinished file has here."""
    return path.name.startswith(_PREFIX) and path.name.endswith(_ENDING)


def cut_name(name: str, most_bytes: int) -> str:
    """The longest beginning of a name that takes so many bytes on disk; characters stay whole."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name


def _stem(target: Path) -> str:
    return _PREFIX + cut_name(target.name, _LONGEST_STEM)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


if sys.platform == "win32":

    def _lock(path: Path, wanted: bool = True) -> int:
        """Nothing to lock where open files cannot be removed: some descriptor."""
        return os.open(os.devnull, os.O_RDONLY) if wanted else -1

else:
    import fcntl

    def _lock(path: Path, wanted: bool = True) -> int:
        """Descriptor of a locked file; -1 if another has the lock or, meanwhile, the file went.

        Where the file system knows no locks, a file of one's own (``wanted``) goes without.
        """
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            return -1
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == path.stat().st_ino:
                return lock
        except OSError as error:
            if wanted and error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                return lock
        os.close(lock)
        return -1
