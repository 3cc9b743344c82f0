// What each command of xenblkctl refuses, its help, its manual, and what the shell completes.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "tests/control/ctl_fixture.h"

namespace xenblk::control {
namespace {

// Each with what it needs.
const std::map<std::string, std::vector<std::string>> kCalls = {
    {"list", {}},
    {"info", {"7/51712"}},
    {"stats", {"7/51712"}},
    {"metrics", {}},
    {"explain", {"7/51712"}},
    {"pause", {"7/51712"}},
    {"resume", {"7/51712"}},
    {"resize", {"7/51712", "8M"}},
    {"check", {"7/51712"}},
    {"snapshot", {"7/51712", "--to", "/a.vhd"}},
    {"coalesce", {"7/51712"}},
    {"limit", {"7/51712", "--none"}},
    {"export", {"7/51712", "--stop"}},
    {"close", {"7/51712"}},
    {"shutdown", {}}};

std::vector<std::string> call(const std::string& command, std::vector<std::string> rest = {}) {
  auto words = kCalls.at(command);
  words.insert(words.begin(), command);
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

class CtlUsage : public Ctl {
 protected:
  // What bash makes of these words behind the program's name.
  test::Ended shell(const std::string& words) const {
    const auto line = fmt::format("'{}' --socket '{}' {}", XENBLK_CTL_PROGRAM, socket_, words);
    return test::Running({"bash", "-c", line}, directory_.path("")).wait();
  }
  // A daemon of another kind.
  static int listening(const std::string& path) {
    const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(path, address.sun_path);
    EXPECT_EQ(::bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(server, 1), 0);
    return server;
  }
  static void answer_once(int server, const std::string& answer) {
    const int client = ::accept4(server, nullptr, nullptr, SOCK_CLOEXEC);
    char question[4096];
    EXPECT_GT(::recv(client, question, sizeof question, 0), 0);
    const auto line = answer + "\n";
    EXPECT_EQ(::send(client, line.data(), line.size(), 0), static_cast<ssize_t>(line.size()));
    ::close(client);
  }
};

// --- errors ---
TEST_F(CtlUsage, EveryCommandThatTakesADiskRefusesAnUnknownOne) {
  for (const auto& [command, rest] : kCalls) {
    if (rest.empty()) continue;
    const auto of = [&](const std::string& disk) {
      auto words = call(command);
      words[1] = disk;
      return refused(words);
    };
    EXPECT_EQ(of("9/51712"), "no such disk: \"9/51712\"") << command;
    EXPECT_EQ(of("db:xvda"), "no such disk: \"db:xvda\"") << command;
    if (command == "limit") continue;  // it takes a guest's name too
    EXPECT_EQ(of("xvda"), "\"xvda\" names no disk: it must be like 7/51712 or like web1:xvda");
  }
}

TEST_F(CtlUsage, RefusesToGuessBetweenTwoGuestsOfOneName) {
  toolstack_.add_disk(named_disk(raw_image()));
  auto other = named_disk(raw_image("other.raw"));
  other.guest = {8};
  const auto guest = xen_.create_domain({8});
  set_node("/local/domain/8/name", "web1");
  toolstack_.add_disk(other);
  expect_node(other, "image-state", "open");
  expect_node(disk(""), "image-state", "open");
  EXPECT_EQ(refused({"info", "web1:xvda"}),
            "there are several guests called \"web1\": name the disk by its numbers");
  EXPECT_EQ(refused({"limit", "web1", "--none"}),
            "there are several guests called \"web1\": name it by its number");
  EXPECT_EQ(good({"limit", "8", "--none"}), "no limits\n");
}

TEST_F(CtlUsage, RefusesNonsenseLimits) {
  connect_web1(raw_image());
  EXPECT_EQ(refused({"limit", "web1:xvda", "--iops", "0"}),
            "iops must be a whole number from 1 to 100000000");
  EXPECT_EQ(refused({"limit", "web1:xvda", "--bandwidth", "1"}),
            "bandwidth must be a whole number from 4096 to 1099511627776");
  EXPECT_EQ(refused({"limit", "web1", "--iops", "0"}),
            "iops must be a whole number from 1 to 100000000");
  for (const auto* unknown : {"db", "9"}) {
    EXPECT_EQ(
        refused({"limit", unknown, "--iops", "5"}),
        std::string("no such guest, or none of its disks is served here: \"") + unknown + "\"");
  }
  EXPECT_EQ(json({"info", "web1:xvda"})["limits"]["iops"], 0) << "nothing was changed";
  EXPECT_EQ(json({"info", "web1:xvda"})["guest-limits"]["iops"], 0);
  EXPECT_EQ(refused({"limit", "web1:xvda"}, 2),
            "limit needs --iops, --bandwidth, --burst or --none (see xenblkctl limit --help)");
  EXPECT_TRUE(refused({"limit", "web1:xvda", "--bandwidth", "fast"}, 2).starts_with("--bandwidth"));
  EXPECT_EQ(refused({"limit", "web1:xvda", "--iops", "-5"}),
            "iops must be a whole number from 1 to 100000000");
  EXPECT_TRUE(refused({"limit", "web1:xvda", "--iops", "5", "--none"}, 2).contains("excludes"));
}

TEST_F(CtlUsage, SaysWhatIsWrongWithTheCommandLine) {
  EXPECT_EQ(refused({}, 2), "A subcommand is required (see xenblkctl --help)");
  EXPECT_TRUE(refused({"explode"}, 2).contains("(see xenblkctl --help)"));
  EXPECT_EQ(refused({"info"}, 2), "DISK is required (see xenblkctl info --help)");
  EXPECT_TRUE(refused({"resize", "7/1", "0"}, 2).contains("(see xenblkctl resize --help)"));
  EXPECT_TRUE(refused({"shutdown", "--detach", "--close"}, 2).contains("excludes"));
  EXPECT_TRUE(refused({"stats", "--interval", "0"}, 2).contains("--interval"));
}

TEST_F(CtlUsage, EveryCommandSaysThatNoDaemonIsThere) {
  end_server();
  for (const auto& [command, rest] : kCalls) {
    EXPECT_EQ(refused(call(command)),
              "cannot reach xenblkd at " + socket_ + ": No such file or directory");
  }
}

TEST_F(CtlUsage, EveryCommandRefusesWhatItDoesNotTake) {
  for (const auto& [command, rest] : kCalls) {
    const auto hint = " (see xenblkctl " + command + " --help)";
    for (const auto* word : {"--frobnicate", "superfluous"}) {
      const auto said = refused(call(command, {word}), 2);
      EXPECT_EQ(said, "The following argument was not expected: " + std::string(word) + hint);
    }
  }
}

TEST_F(CtlUsage, EveryCommandOfADiskNeedsOne) {
  for (const auto& [command, rest] : kCalls) {
    if (rest.empty() || command == "stats") continue;
    EXPECT_EQ(refused({command}, 2), "DISK is required (see xenblkctl " + command + " --help)");
  }
}

TEST_F(CtlUsage, GivesUpOnAGuestThatDoesNotLetGo) {
  connect_web1(raw_image());
  EXPECT_EQ(refused({"close", "web1:xvda", "--timeout", "1"}),
            "not done after 1 s; it goes on by itself, see xenblkctl list");
}

TEST_F(CtlUsage, OutputThatCannotBeWrittenIsAnError) {
  connect_web1(raw_image());
  for (const auto* words : {"list", "metrics", "info 7/51712 --json", "--help"}) {
    const auto ended = shell(std::string(words) + " > /dev/full");
    EXPECT_EQ(ended.status, 1) << words;
    EXPECT_EQ(ended.err, "xenblkctl: standard output: No space left on device\n") << words;
  }
}

TEST_F(CtlUsage, AMessageThatCannotBeWrittenDoesNotChangeTheStatus) {
  EXPECT_EQ(shell("info 7/1 2> /dev/full").status, 1);
  EXPECT_EQ(shell("explode 2> /dev/full").status, 2);
}

TEST_F(CtlUsage, SaysThatAnAnswerIsNone) {
  const auto path = directory_.path("other.sock");
  const auto server = listening(path);
  for (const auto& command : {"metrics", "check"}) {
    auto words = call(command);
    words.insert(words.begin(), {XENBLK_CTL_PROGRAM, "--socket", path});
    test::Running running(words, directory_.path(""));
    answer_once(server, R"({"version":1,"ok":true,"result":null})");
    const auto ended = running.wait();
    EXPECT_EQ(ended.err, "xenblkctl: the answer is not one of xenblkd\n") << command;
    EXPECT_EQ(ended.status, 1) << command;
  }
  ::close(server);
}

// --- help ---
TEST_F(CtlUsage, NoCommandIsMissingInTheseTests) {
  const auto help = good({"--help"});
  const auto commands = help.substr(help.find("Subcommands:"));
  const std::regex pattern("\n  ([a-z]+) ");
  std::set<std::string> found, called;
  for (std::sregex_iterator it(commands.begin(), commands.end(), pattern), end; it != end; ++it) {
    found.insert((*it)[1]);
  }
  for (const auto& [command, rest] : kCalls) called.insert(command);
  EXPECT_EQ(found, called);
}

TEST_F(CtlUsage, HelpOfEachCommandHasAnExampleOfIt) {
  const auto help = good({"--help"});
  for (const auto& [command, rest] : kCalls) {
    EXPECT_TRUE(std::regex_search(help, std::regex("\n  " + command + " +[A-Z]"))) << command;
    EXPECT_TRUE(good({command, "--help"}).contains("Example:\n  xenblkctl " + command)) << command;
  }
}

TEST_F(CtlUsage, TheManualNamesEveryCommandAndOption) {
  std::ifstream file(XENBLK_CTL_MANUAL);
  const std::string manual((std::istreambuf_iterator<char>(file)), {});
  for (const auto& [command, rest] : kCalls) {
    EXPECT_TRUE(manual.contains("\n.It Cm " + command)) << command;
    const auto help = good({command, "--help"});
    const std::regex option("--([a-z]+)");
    for (std::sregex_iterator it(help.begin(), help.end(), option), end; it != end; ++it) {
      EXPECT_TRUE(manual.contains("Fl -" + (*it)[1].str())) << command << " --" << (*it)[1];
    }
  }
}

// --- completion ---
class Completion : public Ctl {
 protected:
  // What bash offers for the last of these words, in its order; `before` is said to it first.
  std::string offered(const std::string& words, const std::string& before = ":") const {
    const auto script = fmt::format(
        "xenblkctl() {{ '{}' --socket '{}' \"$@\"; }}; . '{}'; {}; COMP_WORDS=({}); "
        "COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _xenblk; echo \"${{COMPREPLY[*]}}\"",
        XENBLK_CTL_PROGRAM, socket_, XENBLK_CTL_COMPLETION, before, words);
    test::Running running({"bash", "-c", script}, directory_.path(""));
    const auto ended = running.wait();
    EXPECT_EQ(ended.err, "");
    return ended.out;
  }
};

TEST_F(Completion, OffersCommands) {
  EXPECT_EQ(offered("xenblkctl re"), "resume resize\n");
}
TEST_F(Completion, OffersTheOptionsOfACommand) {
  EXPECT_EQ(offered("xenblkctl limit --b"), "--bandwidth --burst\n");
}
TEST_F(Completion, OffersDisks) {
  connect_web1(raw_image());
  EXPECT_EQ(offered("xenblkctl info 7"), "7/51712\n");
  EXPECT_EQ(offered("xenblkctl info w"), "web1:xvda\n");
}
TEST_F(Completion, OffersGuestsWhereTheyCanBeNamed) {
  connect_web1(raw_image());
  EXPECT_EQ(offered("xenblkctl limit w"), "web1 web1:xvda\n");
  EXPECT_EQ(offered("xenblkctl limit 7"), "7 7/51712\n");
}
TEST_F(Completion, OffersNamesWithHyphens) {
  connect_web1(raw_image());
  set_node("/local/domain/7/name", "web-1");
  EXPECT_EQ(offered("xenblkctl info w"), "web-1:xvda\n");
}
TEST_F(Completion, OffersNoNameOfWhichAPartIsMissing) {
  connect_web1(raw_image());
  set_node("/local/domain/7/name", "");
  EXPECT_EQ(offered("xenblkctl info -- ''"), "7/51712\n");
}
TEST_F(Completion, OffersFilesBehindTheFormatOfAnImage) {
  std::ofstream(directory_.path("disk.vhd"));
  EXPECT_EQ(offered("xenblk-img check d"), "disk.vhd\n");
  // To bash alone these are three words.
  EXPECT_EQ(offered("xenblk-img info vhd : d"), "disk.vhd\n");
}
// It makes one word of what bash takes for three, and offers are to begin with all of it.
TEST_F(Completion, OffersFilesBehindTheFormatOfAnImageWithBashCompletion) {
  std::ofstream(directory_.path("disk.vhd"));
  const std::string helpers =
      "_get_comp_words_by_ref() { word=${COMP_WORDS[COMP_CWORD]}; };"
      "__ltrim_colon_completions() { COMPREPLY=(\"${COMPREPLY[@]#\"${1%\"${1##*:}\"}\"}\"); }";
  EXPECT_EQ(offered("xenblk-img info vhd:d", helpers), "disk.vhd\n");
  EXPECT_EQ(offered("xenblk-img check d", helpers), "disk.vhd\n");
  connect_web1(raw_image());
  EXPECT_EQ(offered("xenblkctl info web1:", helpers), "xvda\n");
}
TEST_F(Completion, IsSilentWithoutADaemon) {
  end_server();
  EXPECT_EQ(offered("xenblkctl info 7"), "\n");
}

}  // namespace
}  // namespace xenblk::control
