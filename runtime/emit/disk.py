"""What a spool asks of a file system, in the few steps between which a process may die. Decides nothing.

The tests put another one in its place, that dies at any of these steps.
"""

import os
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700  # a spool holds what people said


class Disk:
    """Every method raises OSError: a full disk is one."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def allocate(self, fd: int, size: int) -> None:
        """The room is ours from here on, however full the disk becomes."""
        os.posix_fallocate(fd, 0, size)

    def write(self, fd: int, data: bytes, at: int) -> None:
        while data:
            written = os.pwrite(fd, data, at)
            data, at = data[written:], at + written

    def cut(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Names of files that were made or removed are on the disk, too."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
