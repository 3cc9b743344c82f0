"""The numbers of a suite, and that no failure is lost in counting."""

import json
import pathlib
import tempfile
import unittest

import tally

CTEST = """<testsuite><testcase name="{name}" status="{status}">
<system-out>{said}</system-out></testcase></testsuite>"""


class Tally(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.results = pathlib.Path(folder.name)

    def ctest(self, status="run", said=""):
        (self.results / "ctest.xml").write_text(CTEST.format(name="vhd_test", status=status, said=said))

    def googletest(self, *cases):
        report = {"testsuites": [{"testsuite": list(cases)}]}
        (self.results / "vhd_test.json").write_text(json.dumps(report))

    def log(self, text):
        path = self.results / "log"
        path.write_text(text)
        return path

    def test_cases_of_googletest_are_counted(self):
        self.ctest("fail")
        self.googletest({"result": "COMPLETED"}, {"result": "COMPLETED", "failures": [{}]},
                        {"result": "SKIPPED"})
        self.assertEqual(tally.tally(self.results, 8), (1, 1))

    def test_a_program_that_leaks_after_its_last_case_has_failed(self):
        self.ctest("fail")
        self.googletest({"result": "COMPLETED"})
        self.assertEqual(tally.tally(self.results, 8), (1, 1))

    def test_a_program_that_crashed_has_failed(self):
        self.ctest("fail", said="[ RUN ]")
        self.assertEqual(tally.tally(self.results, 8), (0, 1))

    def test_a_script_counts_for_itself(self):
        self.ctest("run", said="talk\n12 passed, 0 failed\n")
        self.assertEqual(tally.tally(self.results, 0), (12, 0))

    def test_anything_else_is_one_test(self):
        self.ctest("run", said="fine")
        self.assertEqual(tally.tally(self.results, 0), (1, 0))

    def test_ctest_that_wrote_nothing_has_failed(self):
        self.assertEqual(tally.tally(self.results, 1), (0, 1))

    def test_the_last_word_of_a_runner_counts(self):
        self.assertEqual(tally.tally(self.log("1 passed, 0 failed\n3 passed, 1 failed\n"), 1), (3, 1))

    def test_a_runner_without_a_last_word_has_failed(self):
        self.assertEqual(tally.tally(self.log("booting\n"), 0), (0, 1))

    def test_a_runner_that_fails_without_a_failure_has_failed(self):
        self.assertEqual(tally.tally(self.log("3 passed, 0 failed\n"), 1), (3, 1))


if __name__ == "__main__":
    unittest.main()
