// Every message of the control socket, and every wrong one.
#include "backend/control/command.h"

#include <gtest/gtest.h>

namespace xenblk::control {
namespace {

Command good(const std::string& rest) {
  auto command = parse_command(R"({"version":1,)" + rest + "}");
  EXPECT_TRUE(command.has_value()) << describe(command.error());
  return command.value_or(Command{});
}

std::string wrong(const std::string& line) {
  const auto command = parse_command(line);
  EXPECT_FALSE(command.has_value());
  if (command) return "accepted";
  EXPECT_EQ(command.error().code, Errc::bad_spec);
  return command.error().text;
}

std::string wrong_rest(const std::string& rest) {
  return wrong(R"({"version":1,)" + rest + "}");
}

TEST(Command, KnowsEveryVerb) {
  EXPECT_EQ(good(R"("command":"list")").verb, Verb::list);
  EXPECT_EQ(good(R"("command":"stats")").verb, Verb::stats);
  EXPECT_EQ(good(R"("command":"metrics")").verb, Verb::metrics);
  for (const auto verb : {Verb::info, Verb::stats, Verb::explain, Verb::pause, Verb::resume,
                          Verb::close, Verb::check}) {
    const auto command = good(R"("command":")" + std::string(name(verb)) + R"(","disk":"7/51712")");
    EXPECT_EQ(command.verb, verb);
    EXPECT_EQ(command.disk, (DiskName{.domain = {7}, .device = {51712}}));
  }
}

TEST(Command, ChecksBitmapsOnlyWhenAsked) {
  EXPECT_FALSE(good(R"("command":"check","disk":"7/1")").bitmaps);
  EXPECT_TRUE(good(R"("command":"check","disk":"7/1","bitmaps":true)").bitmaps);
  EXPECT_EQ(wrong_rest(R"("command":"check","disk":"7/1","bitmaps":1)"),
            "bitmaps must be true or false");
  EXPECT_EQ(wrong_rest(R"("command":"check")"), "check needs a disk");
}

TEST(Command, SnapshotsToAnAbsolutePath) {
  EXPECT_EQ(good(R"("command":"snapshot","disk":"7/1","to":"/a b")").path, "/a b");
  EXPECT_EQ(wrong_rest(R"("command":"snapshot","disk":"7/1")"), "snapshot needs to");
  EXPECT_EQ(wrong_rest(R"("command":"snapshot","disk":"7/1","to":1)"), "to must be a string");
  EXPECT_EQ(wrong_rest(R"("command":"snapshot","disk":"7/1","to":"a")"),
            "to must be an absolute path");
  EXPECT_EQ(wrong_rest(R"("command":"snapshot","disk":"7/1","to":"/\u0000")"),
            "to must not contain control characters");
}

TEST(Command, CoalescesAsFastAsItMay) {
  EXPECT_FALSE(good(R"("command":"coalesce","disk":"7/1")").bytes_per_second);
  EXPECT_EQ(good(R"("command":"coalesce","disk":"7/1","bandwidth":5000)").bytes_per_second, 5000U);
  EXPECT_EQ(wrong_rest(R"("command":"coalesce","disk":"7/1","iops":5)"),
            "coalesce takes no \"iops\"");
}

TEST(Command, NamesADiskByNumbersOrByNames) {
  EXPECT_EQ(parse_disk_name("0/0").value(), DiskName{});
  EXPECT_EQ(parse_disk_name("web1:xvda").value(),
            (DiskName{.guest = "web1", .virtual_device = "xvda"}));
  EXPECT_EQ(parse_disk_name("a:b:xvda").value(),
            (DiskName{.guest = "a:b", .virtual_device = "xvda"}));
  for (const auto* text : {"", "7", "7/", "/1", "7/x", "70000/1", "-7/1", "7/-1", " 7/1", "7/1 ",
                           "7/4294967296", "web1:", ":xvda", "7/1/2", "+7/1"}) {
    EXPECT_FALSE(parse_disk_name(text).has_value()) << text;
  }
  EXPECT_EQ(parse_disk_name("\x1b[2J").error().text,
            "\"?[2J\" names no disk: it must be like 7/51712 or like web1:xvda");
}

TEST(Command, RefusesWhatIsNoMessage) {
  EXPECT_EQ(wrong(""), "the message is not a JSON object");
  EXPECT_EQ(wrong("list"), "the message is not a JSON object");
  EXPECT_EQ(wrong("[1]"), "the message is not a JSON object");
  EXPECT_EQ(wrong("{\"version\":1"), "the message is not a JSON object");
  EXPECT_EQ(wrong("{\"version\":1} x"), "the message is not a JSON object");
  EXPECT_EQ(wrong(std::string(4000, '[')), "the message is not a JSON object");
  EXPECT_EQ(wrong(std::string(5000, ' ')), "the message is too long");
  EXPECT_EQ(wrong("{}"), "version must be 1");
  EXPECT_EQ(wrong(R"({"version":2,"command":"list"})"), "version must be 1");
  EXPECT_EQ(wrong(R"({"version":"1","command":"list"})"), "version must be 1");
  EXPECT_EQ(wrong(R"({"version":1})"), "command is missing");
  EXPECT_EQ(wrong(R"({"version":1,"command":3})"), "command is missing");
  EXPECT_EQ(wrong_rest(R"("command":"explode\n")"), "no such command: \"explode?\"");
}

TEST(Command, RefusesWhatACommandDoesNotTake) {
  EXPECT_EQ(wrong_rest(R"("command":"list","disk":"7/1")"), "list takes no \"disk\"");
  EXPECT_EQ(wrong_rest(R"("command":"info","disk":"7/1","bytes":1)"), "info takes no \"bytes\"");
  EXPECT_EQ(wrong_rest(R"("command":"info")"), "info needs a disk");
  EXPECT_EQ(wrong_rest(R"("command":"info","disk":7)"), "disk must be a string");
}

TEST(Command, TakesANewSizeInWholeSectors) {
  EXPECT_EQ(good(R"("command":"resize","disk":"7/1","bytes":1048576)").capacity, SectorCount{2048});
  EXPECT_EQ(wrong_rest(R"("command":"resize","disk":"7/1")"), "resize needs bytes");
  EXPECT_EQ(wrong_rest(R"("command":"resize","disk":"7/1","bytes":1000)"),
            "bytes must be a multiple of 512");
  for (const auto* bytes : {"0", "-1", "1.5", "\"5\"", "null", "18446744073709551615", "1e30"}) {
    EXPECT_EQ(wrong_rest(R"("command":"resize","disk":"7/1","bytes":)" + std::string(bytes)),
              "bytes must be a whole number from 512 to 4611686018427387904");
  }
}

TEST(Command, ChangesOnlyTheLimitsThatItNames) {
  const ringio::RateLimits before{.operations_per_second = 5, .bytes_per_second = 8192};
  const auto set = [&](const std::string& rest) {
    return changed(before, good(R"("command":"limit","disk":"7/1",)" + rest));
  };
  EXPECT_EQ(set(R"("iops":500)"),
            (ringio::RateLimits{.operations_per_second = 500, .bytes_per_second = 8192}));
  EXPECT_EQ(set(R"("bandwidth":4096,"burst-ms":20)"), (ringio::RateLimits{5, 4096, 20'000'000}));
  EXPECT_EQ(set(R"("none":true)"), ringio::RateLimits{});
}

TEST(Command, RefusesLimitsOfZeroAndNonsense) {
  const auto limit = [](const std::string& rest) {
    return wrong_rest(R"("command":"limit","disk":"7/1")" + rest);
  };
  EXPECT_EQ(limit(""), "limit needs some of iops, bandwidth and burst-ms, or none alone");
  EXPECT_EQ(limit(R"(,"none":true,"iops":1)"),
            "limit needs some of iops, bandwidth and burst-ms, or none alone");
  EXPECT_EQ(limit(R"(,"none":false)"), "none must be true");
  EXPECT_EQ(limit(R"(,"size":1)"), "limit takes no \"size\"");
  for (const auto* value : {"0", "-5", "1.5", "\"9\"", "100000001", "null", "true"}) {
    EXPECT_EQ(limit(R"(,"iops":)" + std::string(value)),
              "iops must be a whole number from 1 to 100000000");
  }
  EXPECT_EQ(limit(R"(,"bandwidth":4095)"),
            "bandwidth must be a whole number from 4096 to 1099511627776");
  EXPECT_EQ(limit(R"(,"burst-ms":0)"), "burst-ms must be a whole number from 1 to 60000");
}

TEST(Command, LimitsAGuestByItsNameOrNumber) {
  const auto limit = [](const std::string& guest) {
    return R"("command":"limit","iops":5,"guest":)" + guest;
  };
  EXPECT_EQ(good(limit("\"7\"")).guest, (GuestName{.domain = {7}, .name = ""}));
  EXPECT_EQ(good(limit("\"web1\"")).guest, (GuestName{.domain = {}, .name = "web1"}));
  EXPECT_EQ(good(limit("\"70000\"")).guest, (GuestName{.domain = {}, .name = "70000"}));
  for (const auto* nonsense : {"\"\"", "\"7/1\""}) {
    EXPECT_TRUE(wrong_rest(limit(nonsense)).contains("names no guest: it must be like 7 or"));
  }
  EXPECT_EQ(wrong_rest(limit("7")), "guest must be a string");
  EXPECT_EQ(wrong_rest(limit("\"7\"") + R"(,"disk":"7/1")"),
            "limit takes a disk or a guest, not both");
  EXPECT_EQ(wrong_rest(R"("command":"info","guest":"7")"), "info takes no \"guest\"");
}

TEST(Command, ExportsAtASocketOrStops) {
  const auto rest = [](const std::string& more) {
    return R"("command":"export","disk":"7/1")" + more;
  };
  const auto command = good(rest(R"(,"socket":"a.nbd")"));
  EXPECT_EQ(command.socket, "a.nbd");
  EXPECT_EQ(command.access, Access::read_only);
  EXPECT_EQ(good(rest(R"(,"socket":"a","writable":true)")).access, Access::read_write);
  EXPECT_TRUE(good(rest(R"(,"stop":true)")).stop);
  for (const auto* more : {"", R"(,"socket":"a","stop":true)", R"(,"stop":true,"writable":true)"}) {
    EXPECT_EQ(wrong_rest(rest(more)), "export needs a socket, or stop alone");
  }
  for (const auto* value : {"1", "\"\"", "null"}) {
    EXPECT_EQ(wrong_rest(rest(",\"socket\":" + std::string(value))), "socket must be a path");
  }
  EXPECT_EQ(wrong_rest(rest(R"(,"socket":"a","writable":1)")), "writable must be true or false");
  EXPECT_EQ(wrong_rest(rest(R"(,"stop":false)")), "stop must be true");
  EXPECT_EQ(wrong_rest(rest(R"(,"bytes":1)")), "export takes no \"bytes\"");
}

TEST(Command, EndsTheDaemonInOneOfTwoWays) {
  EXPECT_EQ(good(R"("command":"shutdown")").shutdown, ShutdownMode::detach);
  EXPECT_EQ(good(R"("command":"shutdown","mode":"close")").shutdown, ShutdownMode::close);
  EXPECT_EQ(wrong_rest(R"("command":"shutdown","mode":"now")"), "mode must be detach or close");
}

}  // namespace
}  // namespace xenblk::control
