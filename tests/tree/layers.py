"""The architecture as a table: which folder may use what. Change the picture of the design first.

A folder belongs to the layer with the longest prefix. `uses` names layers and groups of outside
headers; `targets` is what the folder's CMake targets may link.
"""

import dataclasses

# Outside headers by group. A header that is in none of them is itself a violation: whoever brings
# in a library says here who may use it.
HEADER_PREFIXES = {
    "intrusive": ("boost/intrusive/",),
    "liburing": ("liburing.h", "liburing/"),
    "libxen": ("xenstore.h", "xenstore_lib.h", "xengnttab.h", "xenevtchn.h", "xenctrl.h",
               "xentoolcore.h", "xentoollog.h", "xenforeignmemory.h", "xen/"),
    "fmt": ("fmt/",),
    "spdlog": ("spdlog/",),
    "cli": ("CLI/",),
    "json": ("nlohmann/",),
    "toml": ("toml++/",),
    "systemd": ("systemd/",),
    "seccomp": ("seccomp.h",),
    "test": ("gtest/", "gmock/"),
    "benchmark": ("benchmark/",),
    "os": ("sys/", "linux/", "netinet/", "asm/", "arpa/", "unistd.h", "fcntl.h", "poll.h", "pthread.h",
           "sched.h", "dirent.h", "getopt.h", "grp.h", "pwd.h", "spawn.h", "uuid/", "endian.h",
           "byteswap.h", "ftw.h", "glob.h", "signal.h", "syslog.h", "termios.h", "x86intrin.h",
           "immintrin.h", "sanitizer/", "stdlib.h", "string.h", "stdio.h", "time.h"),
}

# CMake targets of outside libraries, by the same groups.
TARGET_GROUPS = {
    "PkgConfig::liburing": "liburing",
    "PkgConfig::libxen": "libxen",
    "PkgConfig::libsystemd": "systemd",
    "PkgConfig::libseccomp": "seccomp",
    "fmt::fmt": "fmt",
    "spdlog::spdlog": "spdlog",
    "CLI11::CLI11": "cli",
    "nlohmann_json::nlohmann_json": "json",
    "tomlplusplus::tomlplusplus": "toml",
    "benchmark::benchmark": "benchmark",
    "benchmark::benchmark_main": "benchmark",
    "GTest::gtest": "test",
    "GTest::gtest_main": "test",
    "GTest::gmock": "test",
    "Threads::Threads": "os",
}

EVERYTHING = frozenset(["everything"])


@dataclasses.dataclass(frozen=True)
class Layer:
    folder: str
    uses: frozenset
    target: str = ""  # the CMake library other folders link

    def may_use(self, what):
        return what in ("std", self.folder) or self.uses == EVERYTHING or what in self.uses


def layer(folder, uses, target=""):
    return Layer(folder, frozenset(uses.split()), target)


CONTROL = ("backend backend/negotiation ringio vhd nbd include intrusive os fmt spdlog json toml systemd "
           "seccomp")

LAYERS = (
    layer("include", "intrusive", "xenblk_include"),
    layer("ringio", "include intrusive liburing os", "xenblk_ringio"),
    layer("vhd", "include intrusive os fmt", "xenblk_vhd"),
    # Of ringio only the io_uring engine and the buffers.
    layer("nbd", "include intrusive ringio os", "xenblk_nbd"),
    layer("backend", CONTROL, "xenblk_backend"),
    layer("backend/negotiation", "include fmt", "xenblk_negotiation"),
    layer("backend/control", CONTROL, "xenblk_control"),
    layer("backend/platform/loopback", "include intrusive os fmt", "xenblk_loopback"),
    layer("backend/platform/libxen", "include intrusive os fmt libxen", "xenblk_libxen"),
    # Programs: where a Xen is chosen.
    layer("backend/daemon", CONTROL + " backend/control backend/platform/loopback backend/platform/libxen "
          "backend/daemon/demo cli", "xenblk_daemon"),
    layer("backend/daemon/demo", CONTROL + " backend/platform/loopback", "xenblk_demo"),
    # Of ringio only the io_uring engine: copying an image keeps many requests in flight.
    layer("tools", "include intrusive ringio vhd nbd os fmt cli json", "xenblk_img"),
    layer("bench", "include intrusive ringio vhd backend/platform/loopback os fmt cli json benchmark",
          "xenblk_load"),
    Layer("tests", EVERYTHING),
    Layer("tests/fuzz", EVERYTHING, "xenblk_fuzz"),
    Layer("tests/vhd/power_cut", EVERYTHING, "xenblk_power_cut"),
    Layer("tests/sim/system", EVERYTHING, "xenblk_sim_system"),
)

# Headers that only one file of a layer may include: the walls inside a layer.
ONE_FILE_ONLY = {"liburing": "ringio"}


def layer_of(path):
    """The layer of a file, None for files outside all folders of the table."""
    fitting = [one for one in LAYERS if path.startswith(one.folder + "/")]
    return max(fitting, key=lambda one: len(one.folder), default=None)


def group_of(header):
    """The group of an outside header: std when it looks like one of the standard library."""
    for group, prefixes in HEADER_PREFIXES.items():
        if any(header == prefix or (prefix.endswith("/") and header.startswith(prefix))
               for prefix in prefixes):
            return group
    if "/" not in header and not header.endswith((".h", ".hpp")):
        return "std"
    return None
