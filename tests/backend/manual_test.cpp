// The manuals say what the program and its file of settings say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "backend/daemon/options.h"

namespace xenblk::daemon {
namespace {

std::string packaged(const std::string& name) {
  std::ifstream file(std::string(XENBLK_PACKAGING) + "/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::set<std::string> all_matches(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), expression), end; it != end; ++it) {
    found.insert((*it)[1]);
  }
  return found;
}

TEST(Manual, NamesEveryOption) {
  const char* const arguments[] = {"xenblkd", "--help"};
  const auto help = std::get<Farewell>(read_options(2, arguments).value()).text;
  const auto named = all_matches(packaged("man/xenblkd.8"), "Fl -([a-z-]+)");
  EXPECT_EQ(named, all_matches(help, "--([a-z][a-z-]*)"));
}

TEST(Manual, NamesEverySetting) {
  const auto named = all_matches(packaged("man/xenblkd.toml.5"), "\\.It Ic ([a-z-]+)");
  EXPECT_GT(named.size(), 8U);
  EXPECT_EQ(named, all_matches(packaged("xenblkd.toml"), "# ([a-z-]+) = "));
}

TEST(Manual, SaysWhichSettingsTheSignalBringsIn) {
  for (const auto* name : {"man/xenblkd.8", "man/xenblkd.toml.5", "xenblkd.toml"}) {
    const auto text = packaged(name);
    const auto passage = text.substr(std::min(text.find("SIGHUP"), text.size()), 1000);
    // Later, at once, and not at all.
    const std::regex order(
        "max-ring-order[^;]*on-error[^;]*on-enospc[^;]*\\[disks\\][^;]*connect later;"
        "[^;]*polling-window-us[^;]*slow-request-ms[^;]*log-level[^;]*at once;[^;]*need a restart");
    EXPECT_TRUE(std::regex_search(passage, order)) << name << ":\n" << passage;
  }
}

TEST(Manual, HasNoErrors) {
  for (const auto* page : {"xenblkd.8", "xenblkd.toml.5"}) {
    const auto command = std::string("man --warnings -E UTF-8 -l -Tutf8 -Z ") + XENBLK_PACKAGING +
                         "/man/" + page + " 2>&1 >/dev/null | grep .";
    EXPECT_NE(std::system(command.c_str()), 0) << page;
  }
}

}  // namespace
}  // namespace xenblk::daemon
