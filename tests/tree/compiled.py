"""Tests that do not run: left out of the build, disabled, or skipped without a known reason."""

import json
import pathlib
import re

DISABLED = re.compile(r"\bDISABLED_|^\s*#\s*if\s+0\b")
SKIP = re.compile(r'\bGTEST_SKIP\s*\(\s*\)(?:\s*<<\s*"([^"]*)")?')
# The reasons that a test may skip itself for, as they begin. What ./dev installs is never missing.
SKIP_REASONS = (
    "no Xen here",
    "no direct I/O on this file system",
    "no io_uring here",
    "this kernel has no Landlock",
    "only root has something to drop",
    "not root",
    "XENBLK_VHD_SAMPLES is not set",
)


def check(tree):
    violations = []
    for path in tree.cpp():
        for number, line in tree.lines(path):
            if DISABLED.search(line):
                violations.append(f"{path}:{number}: disabled: {line.strip()}")
        violations += skips(tree, path)
    return violations


def skips(tree, path):
    text = tree.text(path)
    for found in SKIP.finditer(text):
        reason = found.group(1) or ""
        if not reason.startswith(SKIP_REASONS):
            number = text.count("\n", 0, found.start()) + 1
            yield f"{path}:{number}: skipped for a reason that tests/tree/compiled.py does not list"


def check_build(tree, build):
    """Every test source is part of the build in the folder `build`."""
    commands = json.loads((pathlib.Path(build) / "compile_commands.json").read_text())
    built = {(pathlib.Path(one["directory"]) / one["file"]).resolve() for one in commands}
    tests = [path for path in tree.files if path.startswith("tests/") and path.endswith("_test.cpp")]
    return [f"{path}: not compiled in {build}" for path in tests if tree.root / path not in built]
