#!/usr/bin/env python3
"""Counts test cases: prints "PASSED FAILED" for one suite.

usage: tally.py RESULTS_DIR STATUS    after ctest: ctest.xml and the test programs' own JSON reports
       tally.py LOG_FILE STATUS       after a runner whose last word is "N passed, N failed"

STATUS is the exit status of the suite. A suite that failed has at least one failure, whatever it
said: a program that crashed or leaked has reported nothing or only successes.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree

CLOSING_LINE = re.compile(r"^(\d+) passed, (\d+) failed\s*$", re.MULTILINE)


def tally(source, status):
    source = pathlib.Path(source)
    passed, failed = ctest(source) if source.is_dir() else runner(source)
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed


def runner(log):
    lines = CLOSING_LINE.findall(log.read_text(errors="replace"))
    return (int(lines[-1][0]), int(lines[-1][1])) if lines else (0, 1)


def ctest(results):
    report = results / "ctest.xml"
    if not report.exists():
        return 0, 1
    passed = failed = 0
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        one_passed, one_failed = ctest_case(results, case)
        passed += one_passed
        failed += one_failed
    return passed, failed


def ctest_case(results, case):
    """One ctest: a GoogleTest program, a script with a closing line, or just good or bad."""
    good = case.get("status") == "run"
    own = results / f"{case.get('name')}.json"
    said = CLOSING_LINE.findall(case.findtext("system-out") or "")
    if own.exists():
        passed, failed = googletest(json.loads(own.read_text()))
    elif said:
        passed, failed = int(said[-1][0]), int(said[-1][1])
    else:
        return (1, 0) if good else (0, 1)
    return passed, failed if good else max(failed, 1)


def googletest(report):
    """A case that was skipped or is disabled did neither pass nor fail."""
    cases = [case for suite in report["testsuites"] for case in suite["testsuite"]]
    failed = sum(1 for case in cases if "failures" in case)
    completed = sum(1 for case in cases if case["result"] == "COMPLETED")
    return completed - failed, failed


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(*tally(sys.argv[1], int(sys.argv[2])))
