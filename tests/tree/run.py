#!/usr/bin/env python3
"""Checks the tree's own rules, and first that each check notices what it is there for.

usage: run.py [--build DIR] [--headers]

  --build DIR   also: every test source is part of the build in DIR
  --headers     also: every header compiles alone (some seconds)
"""

import argparse
import pathlib
import sys
import unittest

import compiled
import headers
import includes
import links
import named_tests
import sizes
import words
from tree import Tree

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description="Checks the tree's own rules.")
    parser.add_argument("--build", help="folder of a build, with compile_commands.json")
    parser.add_argument("--headers", action="store_true", help="compile every header alone")
    options = parser.parse_args()
    self_passed, self_failed = self_tests()
    failed = sum(not passes(name, check) for name, check in checks(options))
    passed = len(checks(options)) - failed
    print(f"{passed + self_passed} passed, {failed + self_failed} failed")
    return 1 if failed + self_failed else 0


def checks(options):
    tree = Tree(HERE.parent.parent)
    found = [
        ("includes", lambda: includes.check(tree)),
        ("links", lambda: links.check(tree)),
        ("disabled tests", lambda: compiled.check(tree)),
        ("sizes", lambda: sizes.check(tree)),
        ("words", lambda: words.check(tree)),
        ("named tests", lambda: named_tests.check(tree)),
    ]
    if options.build:
        found.append(("built tests", lambda: compiled.check_build(tree, options.build)))
    if options.headers:
        found.append(("headers alone", lambda: headers.check(tree)))
    return found


def passes(name, check):
    violations = check()
    for line in violations:
        print(f"{name}: {line}")
    return not violations


def self_tests():
    suite = unittest.defaultTestLoader.discover(str(HERE), pattern="*_test.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(suite)
    failed = len(result.failures) + len(result.errors)
    return result.testsRun - failed, failed


if __name__ == "__main__":
    sys.exit(main())
