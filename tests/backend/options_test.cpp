// Command line and configuration file of the daemon.
#include "backend/daemon/options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "backend/daemon/config_file.h"

namespace xenblk::daemon {
namespace {

Expected<std::variant<Options, Farewell>> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "xenblkd");
  return read_options(static_cast<int>(arguments.size()), arguments.data());
}

Options options(std::vector<const char*> arguments) {
  const auto parsed = parse(std::move(arguments));
  if (!parsed || !std::holds_alternative<Options>(*parsed)) {
    ADD_FAILURE() << "no options";
    return {};
  }
  return std::get<Options>(*parsed);
}

Farewell farewell(std::vector<const char*> arguments) {
  const auto parsed = parse(std::move(arguments));
  if (!parsed || !std::holds_alternative<Farewell>(*parsed)) {
    ADD_FAILURE() << "no farewell";
    return {-1, ""};
  }
  return std::get<Farewell>(*parsed);
}

class ConfigFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/xenblk-config-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/xenblkd.toml";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& text) { std::ofstream(path_) << text; }
  std::string refusal() {
    const auto settings = read_config_file(path_);
    return settings ? "accepted" : describe(settings.error());
  }
  std::string directory_, path_;
};

TEST_F(ConfigFile, TurnsEachPartOfTheConfinementOff) {
  write(
      "[confinement]\nuser = \"\"\ncapabilities = false\nfile-system = false\n"
      "system-calls = false\nio-uring = false\n");
  const auto chosen = options({"-c", path_.c_str()});
  EXPECT_EQ(chosen.confinement.user, "");
  EXPECT_FALSE(chosen.confinement.capabilities);
  EXPECT_FALSE(chosen.confinement.file_system);
  EXPECT_FALSE(chosen.confinement.system_calls);
  EXPECT_FALSE(chosen.backend.worker.restricted_ring);
  EXPECT_TRUE(chosen.backend.images.image_roots.empty());
}

TEST_F(ConfigFile, ConfinesInEveryWayByDefault) {
  write("");
  const auto chosen = options({"-c", path_.c_str()});
  EXPECT_EQ(chosen.confinement.user, "xenblk");
  EXPECT_TRUE(chosen.confinement.capabilities);
  EXPECT_TRUE(chosen.confinement.file_system);
  EXPECT_TRUE(chosen.confinement.system_calls);
  EXPECT_TRUE(chosen.backend.worker.restricted_ring);
  EXPECT_EQ(chosen.backend.images.image_roots, usual_image_roots());
}

TEST_F(ConfigFile, SaysWhereImagesMayLie) {
  write("image-roots = [\"/srv\", \"/dev\"]\n");
  const auto chosen = options({"-c", path_.c_str()});
  EXPECT_EQ(chosen.confinement.image_roots, (std::vector<std::string>{"/srv", "/dev"}));
  EXPECT_EQ(chosen.backend.images.image_roots, chosen.confinement.image_roots);
}

TEST_F(ConfigFile, RefusesWhatTheConfinementDoesNotKnow) {
  write("[confinement]\nsystem-call = true\n");
  EXPECT_EQ(refusal(), path_ + ":2: unknown key confinement.system-call");
  write("[confinement]\nio-uring = 1\n");
  EXPECT_EQ(refusal(), path_ + ":2: confinement.io-uring must be true or false");
  write("confinement = true\n");
  EXPECT_EQ(refusal(), path_ + ":1: confinement must be a table");
  write("image-roots = [\"srv\"]\n");
  EXPECT_EQ(refusal(), path_ + ":1: image-roots: \"srv\" is not an absolute path");
}

TEST(Options, ServeVbdAndVbd3ByDefault) {
  EXPECT_EQ(options({}).backend.kinds, (std::vector<std::string>{"vbd", "vbd3"}));
}
TEST(Options, OfferTheLargestRingByDefault) {
  EXPECT_EQ(options({}).backend.offer.max_ring_order, 4U);
}
TEST(Options, TakeSeveralNames) {
  EXPECT_EQ(options({"-n", "a", "--backend-name", "b"}).backend.kinds,
            (std::vector<std::string>{"a", "b"}));
}
TEST(Options, TakeTheLimits) {
  const auto backend = options({"-m", "2", "-q", "3", "-w", "5"}).backend;
  EXPECT_EQ(backend.offer.max_ring_order, 2U);
  EXPECT_EQ(backend.offer.max_queues, 3U);
  EXPECT_EQ(backend.workers, 5U);
}
TEST(Options, TakeDebug) {
  EXPECT_TRUE(options({"-D"}).debug);
}

TEST(Options, PrintHelpAndVersionWithStatusZero) {
  EXPECT_EQ(farewell({"--help"}).exit_status, 0);
  EXPECT_NE(farewell({"-h"}).text.find("--max-ring-order"), std::string::npos);
  EXPECT_EQ(farewell({"-V"}).text, "xenblkd 0.1.0\n");
}

class WrongUsage : public testing::TestWithParam<std::vector<const char*>> {};
INSTANTIATE_TEST_SUITE_P(
    Options, WrongUsage,
    testing::Values(std::vector<const char*>{"-m", "5"}, std::vector<const char*>{"-m", "-1"},
                    std::vector<const char*>{"-m", "x"}, std::vector<const char*>{"-q", "0"},
                    std::vector<const char*>{"-q", "17"}, std::vector<const char*>{"-w", "0"},
                    std::vector<const char*>{"-n", "a/b"}, std::vector<const char*>{"-n", ".."},
                    std::vector<const char*>{"--nonsense"}, std::vector<const char*>{"-m"}));
TEST_P(WrongUsage, EndsWithStatusTwoAndOneLine) {
  const auto said = farewell(GetParam());
  EXPECT_EQ(said.exit_status, 2);
  EXPECT_TRUE(said.text.starts_with("xenblkd: ")) << said.text;
  EXPECT_EQ(said.text.find('\n'), said.text.size() - 1) << said.text;
}

TEST_F(ConfigFile, SetsWhatTheCommandLineLeavesOpen) {
  write("backend-names = [\"vbd3\"]\nmax-ring-order = 1\nmax-queues = 2\nworkers = 7\n");
  const auto backend = options({"-c", path_.c_str(), "-w", "3"}).backend;
  EXPECT_EQ(backend.kinds, std::vector<std::string>{"vbd3"});
  EXPECT_EQ(backend.offer.max_ring_order, 1U);
  EXPECT_EQ(backend.offer.max_queues, 2U);
  EXPECT_EQ(backend.workers, 3U);
}
TEST_F(ConfigFile, IsRefusedWhenItIsNamedAndMissing) {
  EXPECT_EQ(refusal(), path_ + ": No such file or directory");
}
TEST_F(ConfigFile, NamesTheLineOfASyntaxError) {
  write("max-queues = 2\nworkers = = 3\n");
  EXPECT_TRUE(refusal().starts_with(path_ + ":2: ")) << refusal();
}
// toml++ ends the program over these.
TEST_F(ConfigFile, NamesTheLineOfATimeThatIsNone) {
  write("max-queues = 2\nworkers = 2026-01-01T:\n\nmax-ring-order = 1\n");
  EXPECT_EQ(refusal(), path_ + ":2: this is no value that TOML has");
  write("workers = 2026-01-01Tx:");
  EXPECT_EQ(refusal(), path_ + ":1: this is no value that TOML has");
}
// toml++ says of these that they cannot come: what then happens is for the compiler to choose.
TEST_F(ConfigFile, NamesTheLineOfALetterThatIsOutOfPlace) {
  write("max-queues = 2\nworkers = \u00e4\n");
  EXPECT_TRUE(refusal().starts_with(path_ + ":2: Error while parsing")) << refusal();
  write("\u035a = 2\n");
  EXPECT_TRUE(refusal().starts_with(path_ + ":1: Error while parsing")) << refusal();
}
TEST_F(ConfigFile, NamesTheLineOfAnUnknownKey) {
  write("max-queues = 2\nmax-rings = 3\n");
  EXPECT_EQ(refusal(), path_ + ":2: unknown key max-rings");
}
TEST_F(ConfigFile, SaysInOneLineWhatIsWrongWhateverItIsCalled) {
  write("\"max\\nrings\" = 3\n");
  EXPECT_EQ(refusal(), path_ + ":1: unknown key max?rings");
  write("image-roots = [\"a\\u001bb\"]\n");
  EXPECT_EQ(refusal(), path_ + ":1: image-roots: \"a?b\" is not an absolute path");
}
TEST_F(ConfigFile, RefusesAStringWhereANumberBelongs) {
  write("workers = \"two\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: workers must be a whole number");
}
TEST_F(ConfigFile, RefusesAValueOutOfRange) {
  write("max-ring-order = 9\n");
  EXPECT_EQ(refusal(), path_ + ":1: max-ring-order is 9, must be 0 to 4");
}
TEST_F(ConfigFile, NamesTheLineOfAValueOutOfRange) {
  write("workers = 1\n# a comment\nmax-ring-order = 9\nmax-queues = 2\n");
  EXPECT_EQ(refusal(), path_ + ":3: max-ring-order is 9, must be 0 to 4");
}
TEST_F(ConfigFile, SaysWhereStatisticsGoAndWhoMayControl) {
  EXPECT_EQ(options({}).control_group, "");
  EXPECT_EQ(options({}).metrics_file, "");
  write("control-group = \"admins\"\nmetrics-file = \"/x.prom\"\nxapi-statistics = true\n");
  const auto set = options({"-c", path_.c_str()});
  EXPECT_EQ(set.control_group, "admins");
  EXPECT_EQ(set.metrics_file, "/x.prom");
  EXPECT_TRUE(set.xapi_statistics);
  write("metrics-file = \"x.prom\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: metrics-file: \"x.prom\" is not an absolute path");
  write("xapi-statistics = \"yes\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: xapi-statistics must be true or false");
}
TEST_F(ConfigFile, SetsWhatIsLogged) {
  EXPECT_EQ(options({}).backend.slow_request, std::chrono::seconds(1));
  EXPECT_EQ(options({}).log_level, "info");
  EXPECT_EQ(options({"-D"}).log_level, "debug");
  write("slow-request-ms = 20\nlog-level = \"warning\"\n");
  EXPECT_EQ(options({"-c", path_.c_str()}).backend.slow_request, std::chrono::milliseconds(20));
  EXPECT_EQ(options({"-c", path_.c_str()}).log_level, "warning");
  write("log-level = \"loud\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: log-level is \"loud\", must be debug, info, warning or error");
}
TEST_F(ConfigFile, IsCheckedWithoutADaemon) {
  write("max-queues = 2\n");
  const auto good = farewell({"--check-config", "-c", path_.c_str()});
  EXPECT_EQ(good.exit_status, 0);
  EXPECT_EQ(good.text, "the configuration is good\n");
}
TEST_F(ConfigFile, SetsTheLargestRequest) {
  EXPECT_EQ(options({}).backend.offer.max_indirect_segments, 256U);
  write("max-indirect-segments = 4096\n");
  EXPECT_EQ(options({"-c", path_.c_str()}).backend.offer.max_indirect_segments, 4096U);
  write("max-indirect-segments = 4097\n");
  EXPECT_EQ(refusal(), path_ + ":1: max-indirect-segments is 4097, must be 0 to 4096");
}
TEST_F(ConfigFile, SaysWhereParentsMayLie) {
  EXPECT_TRUE(options({}).backend.images.image_directories.empty());
  EXPECT_FALSE(options({}).backend.images.raw_parents);
  write("image-directories = [\"/srv/a\", \"/srv/b\"]\nraw-parents = true\n");
  const auto images = options({"-c", path_.c_str()}).backend.images;
  EXPECT_EQ(images.image_directories, (std::vector<std::string>{"/srv/a", "/srv/b"}));
  EXPECT_TRUE(images.raw_parents);
  write("image-directories = [\"srv\"]\n");
  EXPECT_EQ(refusal(), path_ + ":1: image-directories: \"srv\" is not an absolute path");
  write("image-directories = \"/srv\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: image-directories must be a list of strings");
  write("raw-parents = 1\n");
  EXPECT_EQ(refusal(), path_ + ":1: raw-parents must be true or false");
}
TEST_F(ConfigFile, ChoosesTheDataPath) {
  EXPECT_FALSE(options({}).backend.offer.persistent_grants);
  for (const auto& [path, persistent] :
       {std::pair{"auto", false}, {"copy", false}, {"persistent", true}}) {
    write("data-path = \"" + std::string(path) + "\"\n");
    EXPECT_EQ(options({"-c", path_.c_str()}).backend.offer.persistent_grants, persistent);
  }
  write("data-path = \"map\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: data-path is \"map\", must be auto, copy or persistent");
  write("data-path = 1\n");
  EXPECT_EQ(refusal(), path_ + ":1: data-path must be a string");
}
TEST_F(ConfigFile, SetsTheSectorSize) {
  EXPECT_EQ(options({}).backend.offer.logical_sector_bytes, 512U);
  write("logical-sector-size = 4096\n");
  EXPECT_EQ(options({"-c", path_.c_str()}).backend.offer.logical_sector_bytes, 4096U);
  write("logical-sector-size = 2048\n");
  EXPECT_EQ(refusal(), path_ + ":1: logical-sector-size is 2048, must be 512 or 4096");
}
TEST_F(ConfigFile, SetsPolling) {
  EXPECT_EQ(options({}).backend.worker.polling.window, std::chrono::microseconds(300));
  EXPECT_EQ(options({}).backend.worker.polling.budget_percent, 20U);
  write("polling-window-us = 40\npolling-budget-percent = 5\n");
  const auto polling = options({"-c", path_.c_str()}).backend.worker.polling;
  EXPECT_EQ(polling.window, std::chrono::microseconds(40));
  EXPECT_EQ(polling.budget_percent, 5U);
  write("polling-budget-percent = 101\n");
  EXPECT_EQ(refusal(), path_ + ":1: polling-budget-percent is 101, must be 0 to 100");
}
TEST_F(ConfigFile, PinsWorkersUnlessToldOtherwise) {
  EXPECT_TRUE(options({}).backend.pin_workers);
  write("pin-workers = false\n");
  EXPECT_FALSE(options({"-c", path_.c_str()}).backend.pin_workers);
  write("pin-workers = \"no\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: pin-workers must be true or false");
}
TEST_F(ConfigFile, SaysWhatToDoWhenAStorageFails) {
  using ringio::OnFailure;
  EXPECT_EQ(options({}).backend.storage.policy("web1:xvda", {}), ringio::StoragePolicy{});
  write(
      "on-error = \"stop\"\non-enospc = \"pause\"\n[disks.\"web1:xvda\"]\non-error = \"report\"\n");
  const auto wishes = options({"-c", path_.c_str()}).backend.storage;
  EXPECT_EQ(wishes.policy("web1:xvda", {}),
            (ringio::StoragePolicy{OnFailure::report, OnFailure::pause}));
  EXPECT_EQ(wishes.policy("web2:xvda", {}),
            (ringio::StoragePolicy{OnFailure::stop, OnFailure::pause}));
}
TEST_F(ConfigFile, RefusesWhatIsNoReactionToAFailure) {
  write("on-error = \"panic\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: on-error is \"panic\", must be report, pause or stop");
  write("on-enospc = 1\n");
  EXPECT_EQ(refusal(), path_ + ":1: on-enospc must be a string");
  write("[disks.\"web1:xvda\"]\non-enospc = \"wait\"\n");
  EXPECT_EQ(refusal(),
            path_ + ":1: disks.\"web1:xvda\".on-enospc is \"wait\", must be report, pause or stop");
  write("[disks.\"web1:xvda\"]\non-fire = \"stop\"\n");
  EXPECT_EQ(refusal(), path_ + ":2: unknown key disks.\"web1:xvda\".on-fire");
  write("[disks.\"web1:xvda\"]\non-error = true\n");
  EXPECT_EQ(refusal(), path_ + ":2: disks.\"web1:xvda\".on-error must be a string");
  write("[disks.web1]\non-error = \"stop\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: disks: \"web1\" names no disk: it must be like \"web1:xvda\"");
  write("[disks]\n\"web1:xvda\" = \"pause\"\n");
  EXPECT_EQ(refusal(), path_ + ":2: disks.\"web1:xvda\" must be a table");
  write("disks = 1\n");
  EXPECT_EQ(refusal(), path_ + ":1: disks must be a table");
}
TEST_F(ConfigFile, RefusesNamesThatAreNoList) {
  write("backend-names = \"vbd\"\n");
  EXPECT_EQ(refusal(), path_ + ":1: backend-names must be a list of strings");
}

}  // namespace
}  // namespace xenblk::daemon
