"""Every header compiles alone: who includes it needs to know nothing else."""

import concurrent.futures
import os
import subprocess

COMPILER = ["g++", "-std=c++23", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c++", "-"]


def check(tree):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = pool.map(lambda path: compile_alone(tree, path), tree.headers())
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
