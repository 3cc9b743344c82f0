"""A test that the documentation names is there, and what is said to be shown names a test."""

import re

DOCS = "docs/"
# Tables whose last column says which test shows what the row says.
PROOFS = {"docs/threat-model.md": ("What is promised", "The advisories")}

TEST = re.compile(r"\bTEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)")
ABUSE = re.compile(r'"([a-z]+(?:-[a-z0-9]+)+)"')

NAMED_TEST = re.compile(r"`([A-Z][A-Za-z0-9]*)\.(\*|[A-Z][A-Za-z0-9]*)`")
NAMED_CTEST = re.compile(r"`([a-z]+_[a-z_]+)`")  # no test, if no such one is known
ADD_TEST = re.compile(r"\badd_test\(\s*NAME\s+(\w+)")
NAMED_PATH = re.compile(r"`(tests/[\w./-]+)`")
NAMED_SCRIPT = re.compile(r"`(\d\d-[\w-]+\.sh)`")
NAMED_ABUSES = re.compile(r"`55(?:-hostile-guest\.sh)?`: ((?:`[a-z0-9-]+`(?:, | and )?)+)")
NAMED_TARGETS = re.compile(r"fuzz targets? ((?:`\w+`(?:, | and )?)+)")
IN_QUOTES = re.compile(r"`([^`]+)`")
SAME_AS_ANOTHER_ROW = re.compile(r"\|\s*as \d+\s*\|$")


class There:
    """What a document may name."""

    def __init__(self, tree):
        self.tests, self.suites, self.abuses = set(), set(), set()
        self.scripts = {path.rsplit("/", 1)[-1] for path in tree.files if path.startswith("tests/xen/")}
        self.paths = set(tree.files) | {folder for path in tree.files for folder in folders_of(path)}
        for path in tree.cpp():
            if not path.startswith("tests/"):
                continue
            found = TEST.findall(tree.text(path))
            self.tests.update(found)
            self.suites.update(suite for suite, _ in found)
            if path.startswith("tests/xen/hostile/"):
                self.abuses.update(ABUSE.findall(tree.text(path)))
        lists = tree.named("CMakeLists.txt")
        self.ctests = {name for path in lists for name in ADD_TEST.findall(tree.text(path))}
        dev = tree.text("dev") if "dev" in tree.files else ""
        listed = re.search(r"^fuzz_targets=\(([^)]*)\)", dev, re.M)
        self.targets = set(listed.group(1).split()) if listed else set()


def folders_of(path):
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path


def check(tree):
    there = There(tree)
    violations = []
    for path in tree.files:
        if not (path.startswith(DOCS) and path.endswith(".md")):
            continue
        heading = ""
        for number, line in tree.lines(path):
            heading = line.lstrip("# ") if line.startswith("#") else heading
            names = list(names_in(line, there))
            violations += [f"{path}:{number}: there is no {what}" for what, found in names if not found]
            if is_proof(path, heading, line) and not names and not SAME_AS_ANOTHER_ROW.search(line):
                violations.append(f"{path}:{number}: names no test")
    return violations


def names_in(line, there):
    """(what is named, whether it is there)"""
    for suite, name in NAMED_TEST.findall(line):
        found = suite in there.suites if name == "*" else (suite, name) in there.tests
        yield f"test {suite}.{name}", found
    for name in NAMED_CTEST.findall(line):
        if name in there.ctests:
            yield f"test {name}", True
    for path in NAMED_PATH.findall(line):
        yield path, path.rstrip("/") in there.paths
    for script in NAMED_SCRIPT.findall(line):
        yield f"script {script}", script in there.scripts
    for group in NAMED_ABUSES.findall(line):
        for abuse in IN_QUOTES.findall(group):
            yield f"abuse {abuse}", abuse in there.abuses
    for group in NAMED_TARGETS.findall(line):
        for target in IN_QUOTES.findall(group):
            yield f"fuzz target {target}", target in there.targets


def is_proof(path, heading, line):
    row = line.startswith("| ") and not line.startswith(("| promise |", "| XSA |"))
    return row and heading in PROOFS.get(path, ())
