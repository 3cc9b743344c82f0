// What the command line as a whole promises: help, exit status, the manual.
#include <regex>
#include <set>

#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

const std::vector<std::string> kCommands = {"create",   "info",    "map",     "check",
                                            "repair",   "convert", "compare", "snapshot",
                                            "coalesce", "resize",  "export"};

std::string manual() {
  std::ifstream file(XENBLK_IMG_MANUAL);
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

class UsageTest : public ImgTest {
 protected:
  // The long options that a command's help names.
  std::set<std::string> options_of(const std::string& command) const {
    auto found = all_matches(good({command, "--help"}), "--([a-z][a-z-]*)");
    found.erase("help");
    return found;
  }
};

TEST_F(UsageTest, HelpNamesEveryCommand) {
  const auto help = good({"--help"});
  for (const auto& command : kCommands) {
    EXPECT_TRUE(std::regex_search(help, std::regex("\n  " + command + " +[A-Z]"))) << command;
  }
}

TEST_F(UsageTest, NoCommandIsMissingHere) {
  const auto help = good({"--help"});
  const auto commands = help.substr(help.find("Subcommands:"));
  EXPECT_EQ(all_matches(commands, "\n  ([a-z]+) "),
            std::set<std::string>(kCommands.begin(), kCommands.end()));
}

TEST_F(UsageTest, HelpOfEachCommandHasAnExampleOfIt) {
  for (const auto& command : kCommands) {
    const auto help = good({command, "--help"});
    const auto example = help.find("\nExample:\n  ");
    ASSERT_NE(example, std::string::npos) << command;
    EXPECT_NE(help.find("xenblk-img " + command, example), std::string::npos) << command;
  }
}

TEST_F(UsageTest, TheManualNamesEveryCommandAndOption) {
  const auto text = manual();
  const auto commands = all_matches(text, "\n\\.It Cm ([a-z]+)\n");
  const auto options = all_matches(text, "\n\\.It Fl (?:h , Fl |V , Fl )?-([a-z-]+)");
  for (const auto& command : kCommands) {
    EXPECT_TRUE(commands.contains(command)) << command;
    for (const auto& option : options_of(command)) {
      EXPECT_TRUE(options.contains(option)) << command << " --" << option;
    }
  }
}

TEST_F(UsageTest, TheManualsSynopsisHasTheOptionsOfEachCommand) {
  const auto text = manual();
  const auto synopsis = text.substr(text.find(".Sh SYNOPSIS"));
  for (const auto& command : kCommands) {
    std::string of_command;
    for (std::size_t at = 0; (at = synopsis.find(".Cm " + command + "\n", at)) != std::string::npos;
         ++at) {
      of_command += synopsis.substr(at, synopsis.find(".Nm", at) - at);
    }
    auto options = options_of(command);
    const bool chain = options.erase("image-directory") + options.erase("raw-parent") == 2;
    EXPECT_EQ(chain, of_command.find("chain options") != std::string::npos) << command;
    for (const auto& option : options) {
      EXPECT_NE(of_command.find("Fl -" + option), std::string::npos) << command << " --" << option;
    }
  }
}

TEST_F(UsageTest, TheManualNamesNoOptionThatThereIsNot) {
  std::set<std::string> known{"help", "version"};
  for (const auto& command : kCommands) known.merge(options_of(command));
  EXPECT_EQ(all_matches(manual(), "\n\\.It Fl (?:h , Fl |V , Fl )?-([a-z-]+)"), known);
}

TEST_F(UsageTest, TheManualHasNoErrors) {
  const auto ended = shell(std::string("man --warnings -E UTF-8 -l -Tutf8 -Z ") +
                           XENBLK_IMG_MANUAL + " 2>&1 >/dev/null");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "");
}

TEST_F(UsageTest, ShowsItsVersion) {
  EXPECT_EQ(good({"--version"}).substr(0, 11), "xenblk-img ");
}

TEST_F(UsageTest, WrongUsageIsStatusTwo) {
  EXPECT_EQ(refused({}, 2), "A subcommand is required (see xenblk-img --help)");
  EXPECT_EQ(refused({"frobnicate"}, 2), "no such command: frobnicate (see xenblk-img --help)");
  EXPECT_EQ(refused({"info"}, 2), "IMAGE is required (see xenblk-img info --help)");
  EXPECT_EQ(refused({"info", "vhd:a", "vhd:b"}, 2),
            "The following argument was not expected: vhd:b (see xenblk-img info --help)");
  EXPECT_EQ(refused({"create", "vhd:a.vhd", "--size", "1G", "--type", "thick"}, 2),
            "--type: thick not in {dynamic,fixed} (see xenblk-img create --help)");
}

TEST_F(UsageTest, OutputThatCannotBeWrittenIsAnError) {
  good({"create", "vhd:a.vhd", "--size", "1G"});
  const auto ended = shell("$img info vhd:a.vhd > /dev/full");
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblk-img: standard output: No space left on device\n");
}

TEST_F(UsageTest, OutputThatIsLongerThanABufferAndCannotBeWrittenIsAnError) {
  std::ofstream pieces(path("pieces.img"), std::ios::binary);
  for (int i = 0; i < 200; ++i) pieces.seekp(std::streamoff{i} << 17).put('x');
  pieces.close();
  for (const auto* words : {"map", "map --json"}) {
    const auto ended = shell(std::string("$img ") + words + " raw:pieces.img > /dev/full");
    EXPECT_EQ(ended.status, 1) << words;
    EXPECT_EQ(ended.err, "xenblk-img: standard output: No space left on device\n") << words;
  }
}

TEST_F(UsageTest, HelpThatCannotBeWrittenIsAnError) {
  const auto ended = shell("$img --help > /dev/full");
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblk-img: standard output: No space left on device\n");
}

TEST_F(UsageTest, AMessageThatCannotBeWrittenDoesNotChangeTheStatus) {
  EXPECT_EQ(shell("$img info vhd:missing 2> /dev/full").status, 1);
  EXPECT_EQ(shell("$img frobnicate 2> /dev/full").status, 2);
}

// In memory, where an image can be written in pieces of any size.
TEST_F(UsageTest, AnImageIsNotTakenForAClosedStandardStream) {
  const auto ended = shell(
      "dir=$(mktemp -d /dev/shm/xenblk-test-XXXXXX); trap 'rm -r $dir' EXIT; "
      "truncate -s 1M $dir/a $dir/b; "
      "timeout 5 $img export raw:$dir/a --socket s --persistent >&-; echo $?; "
      "$img convert - raw:$dir/c <&-; echo $?; "
      "cmp $dir/a $dir/b && ls $dir");
  EXPECT_EQ(ended.out, "1\n1\na\nb\n");
  EXPECT_EQ(ended.err,
            "xenblk-img: standard output: Bad file descriptor\n"
            "xenblk-img: standard input: Bad file descriptor\n");
}

TEST_F(UsageTest, ControlCharactersInANameDoNotReachTheTerminal) {
  EXPECT_EQ(refused({"info", "vhd:a\x1b[2J"}, 2),
            "image 'vhd:DIR/a?[2J': a control character (see xenblk-img info --help)");
}

}  // namespace
}  // namespace xenblk::test
