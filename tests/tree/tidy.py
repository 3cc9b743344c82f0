#!/usr/bin/env python3
"""Runs clang-tidy over this tree's sources, again only over those that changed.

usage: tidy.py BUILD_DIR JOBS

A source is clean for as long as itself, the headers of this tree that it includes, its compile
command and the .clang-tidy files stay as they are; BUILD_DIR/clean remembers that.
"""

import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys

import includes
from tree import Tree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLANG_TIDY = "clang-tidy-19"


def main(build, jobs):
    tree = Tree(ROOT)
    remembered = build / "clean"
    remembered.mkdir(exist_ok=True)
    changed = {}
    sources = sources_of(tree, build)
    for path, command in sources.items():
        digest = digest_of(tree, path, command)
        if not (remembered / digest).exists():
            changed[path] = digest
    print(f"clang-tidy: {len(changed)} of {len(sources)} sources changed", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for path, complaint in pool.map(lambda path: (path, tidy(build, path)), changed):
            if complaint:
                failed += 1
                print(complaint, flush=True)
            else:
                (remembered / changed[path]).touch()
    return 1 if failed else 0


def sources_of(tree, build):
    """Our compiled sources with their compile commands."""
    commands = json.loads((build / "compile_commands.json").read_text())
    ours = {}
    for one in commands:
        path = (pathlib.Path(one["directory"]) / one["file"]).resolve()
        if path.is_relative_to(tree.root) and not path.is_relative_to(build.resolve()):
            ours[path.relative_to(tree.root).as_posix()] = one["command"]
    return dict(sorted(ours.items()))


def digest_of(tree, path, command):
    digest = hashlib.sha256(command.encode())
    for part in [*tree.named(".clang-tidy"), *sorted(closure(tree, path))]:
        digest.update(tree.text(part).encode())
    return digest.hexdigest()


def closure(tree, path):
    """The file and every file of this tree that it includes, however indirectly."""
    found, open_paths = set(), [path]
    while open_paths:
        current = open_paths.pop()
        if current in found:
            continue
        found.add(current)
        for _, quote, header in includes.includes_of(tree, current):
            used = includes.resolve(tree, current, quote, header)
            if used is not None:
                open_paths.append(used)
    return found


def tidy(build, path):
    """What clang-tidy has to say; nothing when the source is clean."""
    command = [CLANG_TIDY, "--quiet", "-p", str(build), path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return ""
    return result.stdout.strip() or result.stderr.strip() or f"{path}: clang-tidy failed"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])))
