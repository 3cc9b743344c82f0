"""The files of this tree, as the checks see them."""

import os
import pathlib
import subprocess

CPP_SUFFIXES = (".h", ".cpp")
# Not sources: what builds, editors and version control leave behind.
FOREIGN_FOLDERS = {".git", "build", ".cache", "__pycache__"}


class Tree:
    """A folder with sources. Paths are given relative to it, with forward slashes, sorted."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.files = sorted(self._from_git() or self._from_disk())

    def cpp(self):
        return [path for path in self.files if path.endswith(CPP_SUFFIXES)]

    def headers(self):
        return [path for path in self.files if path.endswith(".h")]

    def named(self, name):
        return [path for path in self.files if path.rsplit("/", 1)[-1] == name]

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def lines(self, path):
        """(number, line) of a file."""
        return enumerate(self.text(path).splitlines(), start=1)

    def _from_git(self):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            listed = subprocess.run(command, cwd=self.root, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return []  # an unpacked archive, or another user's clone
        names = listed.stdout.decode().split("\0")
        return [name for name in names if name and (self.root / name).is_file()]

    def _from_disk(self):
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in FOREIGN_FOLDERS]
            for name in files:
                yield (pathlib.Path(folder) / name).relative_to(self.root).as_posix()
