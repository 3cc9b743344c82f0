// The probes for tracers, as a tracer finds them: in the notes of the program's file.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

namespace xenblk::ringio {
namespace {

std::string notes_of_this_program() {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(
      ::popen(("LC_ALL=C readelf -n '" + program + "'").c_str(), "r"), &::pclose);
  std::string text;
  std::array<char, 4096> part{};
  while (const auto count = std::fread(part.data(), 1, part.size(), pipe.get())) {
    text.append(part.data(), count);
  }
  return text;
}

// "8@%rbx -2@16(%rax)" says where each argument is; its size, negative with a sign, is what a
// tracer's script relies on.
std::string sizes_of(const std::string& arguments) {
  std::istringstream words(arguments);
  std::string sizes;
  for (std::string word; words >> word;) sizes += word.substr(0, word.find('@')) + " ";
  return sizes;
}

std::map<std::string, std::set<std::string>> probes() {
  std::istringstream lines(notes_of_this_program());
  std::map<std::string, std::set<std::string>> found;
  std::string name;
  bool ours = false;
  for (std::string line; std::getline(lines, line);) {
    const auto after = [&](const std::string& label) -> std::string {
      const auto at = line.find(label);
      return at == std::string::npos ? "" : line.substr(at + label.size());
    };
    if (line.contains("Provider: ")) ours = after("Provider: ") == "xenblk";
    if (line.contains("Name: ")) name = after("Name: ");
    if (ours && line.contains("Arguments: ")) found[name].insert(sizes_of(after("Arguments: ")));
  }
  return found;
}

// Each is in one place or in several, where the compiler has copied it; all have these arguments.
TEST(Probes, AreNotedWithTheirArguments) {
  const std::map<std::string, std::set<std::string>> expected = {
      {"request_taken", {"8 2 4 1 8 8 "}}, {"request_answered", {"8 2 4 1 8 8 -2 8 "}}};
  EXPECT_EQ(probes(), expected);
}

}  // namespace
}  // namespace xenblk::ringio
