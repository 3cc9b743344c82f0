"""Every header compiles alone: who includes it needs to know nothing else."""

import concurrent.futures
import os
import subprocess

# Warnings are the build's matter.
COMPILER = ["g++", "-std=c++23", "-fsyntax-only", "-w", "-x", "c++", "-"]


def check(tree):
    """The headers of the program; those of tests are fixtures, each included by its own tests only."""
    headers = [path for path in tree.headers() if not str(path).startswith("tests/")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = pool.map(lambda path: compile_alone(tree, path), headers)
    return [one for one in complaints if one]


def compile_alone(tree, path):
    """Twice, so that a missing include guard is found too."""
    source = f'#include "{path}"\n#include "{path}"\n'
    command = [*COMPILER, "-I", str(tree.root), "-I", str(tree.root / "include")]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return ""
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    return f"{path}: does not compile alone: {(errors or ['no reason given'])[0]}"
