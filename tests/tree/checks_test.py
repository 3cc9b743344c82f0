"""Each check fails on a planted violation, and names the place."""

import json
import pathlib
import tempfile
import unittest

import compiled
import headers
import includes
import links
import named_tests
import sizes
import words
from tree import Tree


class PlantedTree(unittest.TestCase):
    """A case plants files into an empty tree and looks at what a check says."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def plant(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def says(self, check, *arguments):
        return check(Tree(self.root), *arguments)

    def expect_one(self, check, *words_of_it):
        said = self.says(check)
        self.assertEqual(len(said), 1, said)
        for word in words_of_it:
            self.assertIn(word, said[0])

    def expect_nothing(self, check):
        self.assertEqual(self.says(check), [])


class Includes(PlantedTree):
    def includes(self, path, *names):
        self.plant(path, "".join(f"#include {name}\n" for name in names))

    def test_contracts_use_the_standard_library(self):
        self.includes("include/xenblk/a.h", "<vector>", "<boost/intrusive/list.hpp>")
        self.expect_nothing(includes.check)

    def test_contracts_do_no_io(self):
        self.includes("include/xenblk/a.h", "<unistd.h>")
        self.expect_one(includes.check, "include/xenblk/a.h:1", "may not use os")

    def test_ringio_may_not_include_vhd(self):
        self.includes("vhd/raw.h")
        self.includes("ringio/queue.cpp", '"vhd/raw.h"')
        self.expect_one(includes.check, "ringio/queue.cpp:1", "may not use vhd")

    def test_vhd_may_not_include_ringio(self):
        self.includes("ringio/ring.h")
        self.includes("vhd/raw.cpp", "<vector>", '"ringio/ring.h"')
        self.expect_one(includes.check, "vhd/raw.cpp:2", "may not use ringio")

    def test_a_way_around_through_the_parent_folder_is_seen(self):
        self.includes("ringio/ring.h")
        self.includes("vhd/raw.cpp", '"../ringio/ring.h"')
        self.expect_one(includes.check, "may not use ringio")

    def test_one_file_of_ringio_knows_liburing(self):
        self.includes("ringio/uring.cpp", "<liburing.h>")
        self.expect_nothing(includes.check)
        self.includes("ringio/worker.cpp", "<liburing.h>")
        self.expect_one(includes.check, "more than one", "ringio/worker.cpp")

    def test_liburing_stays_in_ringio(self):
        self.includes("vhd/raw.cpp", "<liburing.h>")
        self.expect_one(includes.check, "may not use liburing")

    def test_negotiation_is_pure(self):
        self.includes("ringio/ring.h")
        self.includes("backend/negotiation/offer.cpp", '"ringio/ring.h"')
        self.expect_one(includes.check, "backend/negotiation may not use ringio")

    def test_libxen_stays_in_its_platform(self):
        for header in ("<xenstore.h>", "<xengnttab.h>", "<xenevtchn.h>", "<xen/io/blkif.h>"):
            self.includes("backend/platform/libxen/a.cpp", header)
            self.expect_nothing(includes.check)
            self.includes("backend/device.cpp", header)
            self.expect_one(includes.check, "backend/device.cpp:1", "may not use libxen")
            (self.root / "backend/device.cpp").unlink()

    def test_loopback_may_not_include_the_data_plane(self):
        self.includes("ringio/ring.h")
        self.includes("backend/platform/loopback/a.cpp", '"ringio/ring.h"')
        self.expect_one(includes.check, "may not use ringio")

    def test_backend_does_not_choose_the_platform_but_the_daemon_does(self):
        self.includes("backend/platform/loopback/xen.h")
        self.includes("backend/daemon/main.cpp", '"backend/platform/loopback/xen.h"')
        self.expect_nothing(includes.check)
        self.includes("backend/device.cpp", '"backend/platform/loopback/xen.h"')
        self.expect_one(includes.check, "backend/device.cpp")

    def test_tools_may_not_include_backend(self):
        self.includes("backend/device.h")
        self.includes("tools/img/main.cpp", '"backend/device.h"')
        self.expect_one(includes.check, "tools may not use backend")

    def test_bench_may_not_include_backend(self):
        self.includes("backend/device.h")
        self.includes("bench/a.cpp", '"backend/device.h"')
        self.expect_one(includes.check, "bench may not use backend")

    def test_tests_may_include_everything(self):
        self.includes("vhd/raw.h")
        self.includes("tests/a_test.cpp", "<gtest/gtest.h>", '"vhd/raw.h"', "<xenstore.h>")
        self.expect_nothing(includes.check)

    def test_an_unknown_library_must_be_entered_in_the_table(self):
        self.includes("vhd/raw.cpp", "<glib.h>")
        self.expect_one(includes.check, "unknown header")

    def test_an_unknown_folder_must_be_entered_in_the_table(self):
        self.includes("helpers/a.h")
        self.expect_one(includes.check, "helpers/a.h", "no layer")


class Links(PlantedTree):
    def test_a_row_may_be_linked(self):
        self.plant("ringio/CMakeLists.txt",
                   "xenblk_library(xenblk_ringio xenblk_include PkgConfig::liburing)")
        self.expect_nothing(links.check)

    def test_ringio_may_not_link_vhd(self):
        self.plant("ringio/CMakeLists.txt",
                   "xenblk_library(xenblk_ringio\n  xenblk_include # the contracts\n  xenblk_vhd)")
        self.expect_one(links.check, "xenblk_ringio links xenblk_vhd", "may not use vhd")

    def test_only_the_platform_links_libxen(self):
        self.plant("backend/CMakeLists.txt",
                   "target_link_libraries(xenblk_backend PUBLIC PkgConfig::libxen)")
        self.expect_one(links.check, "may not use libxen")

    def test_an_unknown_library_must_be_entered_in_the_table(self):
        self.plant("vhd/CMakeLists.txt", "target_link_libraries(xenblk_vhd PRIVATE glib)")
        self.expect_one(links.check, "unknown")


class Compiled(PlantedTree):
    def test_a_disabled_test_is_seen(self):
        self.plant("tests/a_test.cpp", "\nTEST(A, DISABLED" + "_B) {}\n")
        self.expect_one(compiled.check, "tests/a_test.cpp:2")

    def test_code_that_is_switched_off_is_seen(self):
        self.plant("vhd/a.cpp", "#if" + " 0\nint a;\n#endif\n")
        self.expect_one(compiled.check, "vhd/a.cpp:1")

    def test_a_skip_with_a_listed_reason_is_fine(self):
        self.plant("tests/a_test.cpp", 'GTEST_SKIP' + '() << "no Xen here";')
        self.expect_nothing(compiled.check)

    def test_a_skip_for_another_reason_is_seen(self):
        self.plant("tests/a_test.cpp", '\n\nGTEST_SKIP' + '() << "fails on Tuesdays";')
        self.expect_one(compiled.check, "tests/a_test.cpp:3")

    def test_a_skip_without_a_reason_is_seen(self):
        self.plant("tests/a_test.cpp", "GTEST_SKIP" + "();")
        self.expect_one(compiled.check, "tests/a_test.cpp:1")

    def test_a_test_that_fell_out_of_the_build_is_seen(self):
        self.plant("tests/vhd/a_test.cpp", "")
        self.plant("tests/vhd/b_test.cpp", "")
        built = [{"directory": str(self.root.resolve()), "file": "tests/vhd/a_test.cpp"}]
        self.plant("build/compile_commands.json", json.dumps(built))
        said = self.says(compiled.check_build, self.root / "build")
        self.assertEqual(len(said), 1, said)
        self.assertIn("tests/vhd/b_test.cpp", said[0])


class Headers(PlantedTree):
    def test_a_complete_header_is_fine(self):
        self.plant("vhd/a.h", "#pragma once\n#include <string>\nstd::string f();\n")
        self.expect_nothing(headers.check)

    def test_a_header_that_needs_another_one_is_seen(self):
        self.plant("vhd/a.h", "#pragma once\nstd::string f();\n")
        self.expect_one(headers.check, "vhd/a.h", "does not compile alone")

    def test_a_missing_guard_is_seen(self):
        self.plant("vhd/a.h", "struct A {};\n")
        self.expect_one(headers.check, "vhd/a.h")


class Sizes(PlantedTree):
    def test_the_limits_themselves_are_fine(self):
        self.plant("vhd/a.cpp", ("/" * 100 + "\n") * 500)
        self.expect_nothing(sizes.check)

    def test_a_long_line_is_seen(self):
        self.plant("vhd/a.cpp", "\n" + "/" * 101 + "\n")
        self.expect_one(sizes.check, "vhd/a.cpp:2", "101 columns")

    def test_a_long_file_is_seen(self):
        self.plant("vhd/a.cpp", "\n" * 501)
        self.expect_one(sizes.check, "vhd/a.cpp", "501 lines")


class Words(PlantedTree):
    def test_places_outside_are_seen(self):
        for text in ("see /wo" + "rk/facts", "cat ../sha" + "red/x", "iss" + "ue #12",
                     "https://de" + "b.debian.org/x"):
            self.plant("README.md", "fine\n" + text + "\n")
            self.expect_one(words.check, "README.md:2")

    def test_ordinary_words_are_fine(self):
        self.plant("README.md", 'issues a request for a session; "$work"/dom0, ~/work/x')
        self.expect_nothing(words.check)

    def test_the_samples_variable_is_fine(self):
        self.plant("README.md", "XENBLK_VHD_SAMPLES=../sha" + "red/samples")
        self.expect_nothing(words.check)


class NamedTests(PlantedTree):
    def setUp(self):
        super().setUp()
        self.plant("tests/ringio/a_test.cpp", "TEST_F(Ring, StopsForEver) {}\nTEST_P(\n    Slot, Ends) {}\n")
        self.plant("tests/xen/dom0/pv/55-hostile-guest.sh", "")
        self.plant("tests/xen/hostile/cases.cpp", '{"closes-twice", closes_twice},')
        self.plant("dev", "fuzz_targets=(ring\n  config)\n")

    def documented(self, shown_by):
        self.plant("docs/threat-model.md", f"## The advisories\n\n| 39 | endless work | {shown_by} |\n")

    def test_names_of_what_is_there_are_fine(self):
        for name in ("`Ring.StopsForEver`", "`Slot.*`", "`tests/ringio/a_test.cpp`", "`tests/ringio`",
                     "fuzz targets `ring`, `config`", "`55`: `closes-twice`", "as 300"):
            self.documented(name)
            self.expect_nothing(named_tests.check)

    def test_what_is_not_there_is_seen(self):
        for name in ("`Ring.Stops`", "`Rings.*`", "`tests/ringio/b_test.cpp`", "fuzz targets `ring`, `nodes`",
                     "`55`: `closes-twice`, `closes-thrice`", "`56-other.sh`"):
            self.documented(name)
            self.expect_one(named_tests.check, "docs/threat-model.md:3", "there is no")

    def test_a_row_that_names_no_test_is_seen(self):
        self.documented("nobody does that")
        self.expect_one(named_tests.check, "docs/threat-model.md:3", "names no test")


if __name__ == "__main__":
    unittest.main()
