// Files with statistics that other programs read.
#include <sys/stat.h>

#include "backend/control/metrics_file.h"
#include "backend/control/publisher.h"
#include "backend/control/xapi_statistics.h"
#include "tests/control/control_fixture.h"

namespace xenblk::control {
namespace {

// A disk of two queues, all numbers of which differ.
backend::DeviceStatus busy_disk() {
  backend::DeviceStatus status{.key = {"vbd3", {7}, {51712}}};
  for (std::uint64_t i = 1; i <= 2; ++i) {
    auto queue = std::make_shared<ringio::QueueCounters>();
    queue->reads.set(0x0100 * i);
    queue->sectors_read.set(0x1000 * i);
    queue->read_ns.set(5'000'000 * i);
    queue->writes.set(0x0200 * i);
    queue->sectors_written.set(0x2000 * i);
    queue->write_ns.set(7'000'000 * i);
    queue->flushes.set(3 * i);
    queue->discards.set(2 * i);
    (*queue)[ringio::Trouble::image_failed].set(i);
    queue->latencies.read[static_cast<std::size_t>(ringio::Phase::total)].add(1'000'000 * i);
    status.counters.push_back(queue);
  }
  status.session.emplace();
  return status;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text += fmt::format("{:02x}", static_cast<unsigned>(bytes[i]));
    if (i % 8 == 7) text += "\n";
  }
  return text;
}

TEST(XapiStatistics, AreThoseOfTapdiskByteForByte) {
  EXPECT_EQ(hex(tapdisk_statistics(busy_disk())),
            "0100000000000000\n"    // version, padding
            "0000000000000000\n"    // requests without memory
            "0003000000000000\n"    // reads submitted
            "0003000000000000\n"    // reads completed
            "0030000000000000\n"    // sectors read
            "983a000000000000\n"    // microseconds
            "0006000000000000\n"    // writes submitted
            "0006000000000000\n"    // writes completed
            "0060000000000000\n"    // sectors written
            "0852000000000000\n"    // microseconds
            "0300000000000000\n"    // errors
            "0000000000000000\n");  // flags
}

TEST(XapiStatistics, AreThoseOfBlkbackByteForByte) {
  EXPECT_EQ(hex(blkback_statistics(busy_disk())),
            "0600000000000000\n"    // discards
            "0900000000000000\n"    // flushes
            "0000000000000000\n"    // requests without memory
            "0003000000000000\n"    // reads received
            "0003000000000000\n"    // reads completed
            "0030000000000000\n"    // sectors read
            "983a000000000000\n"    // microseconds
            "3108000000000000\n"    // longest: 2 ms, by the bound of its bucket
            "0006000000000000\n"    // writes received
            "0006000000000000\n"    // writes completed
            "0060000000000000\n"    // sectors written
            "0852000000000000\n"    // microseconds
            "0000000000000000\n"    // longest
            "0000000000000000\n");  // flags
}

class XapiFilesTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return directory_.path(name); }
  test::TempDir directory_;
  XapiFiles files_{directory_.path(""), 321};
};

TEST_F(XapiFilesTest, AreAPageEachWhereXapiLooks) {
  ASSERT_TRUE(files_.update({{busy_disk(), "web1"}}).has_value());
  const auto expect_page = [&](const std::string& name, std::span<const std::byte> begin) {
    const auto bytes = test::file_bytes(path(name));
    ASSERT_EQ(bytes.size(), kPageBytes) << name;
    EXPECT_EQ(hex(std::span(bytes).first(begin.size())), hex(begin));
    EXPECT_EQ(std::ranges::count(bytes.begin() + static_cast<long>(begin.size()), bytes.end(),
                                 std::byte{0}),
              static_cast<long>(kPageBytes - begin.size()));
  };
  expect_page("td3-321/vbd-7-51712", tapdisk_statistics(busy_disk()));
  expect_page("vbd3-7-51712/statistics", blkback_statistics(busy_disk()));
}

TEST_F(XapiFilesTest, GoWithTheirDisk) {
  ASSERT_TRUE(files_.update({{busy_disk(), "web1"}}).has_value());
  ASSERT_TRUE(files_.update({}).has_value());
  EXPECT_FALSE(std::filesystem::exists(path("td3-321/vbd-7-51712")));
  EXPECT_FALSE(std::filesystem::exists(path("vbd3-7-51712")));
}

TEST_F(XapiFilesTest, AreNotWrittenThroughALinkThatSomebodyElseHasPutThere) {
  std::filesystem::create_directory(path("elsewhere"));
  std::filesystem::create_directory_symlink(path("elsewhere"), path("vbd3-7-51712"));
  EXPECT_FALSE(files_.update({{busy_disk(), "web1"}}).has_value());
  EXPECT_TRUE(std::filesystem::is_empty(path("elsewhere")));
  std::filesystem::remove(path("vbd3-7-51712"));
  std::filesystem::create_directory(path("vbd3-7-51712"));
  std::filesystem::create_symlink(path("elsewhere/file"), path("vbd3-7-51712/statistics"));
  EXPECT_FALSE(files_.update({{busy_disk(), "web1"}}).has_value());
  EXPECT_TRUE(std::filesystem::is_empty(path("elsewhere")));
}

TEST(MetricsFile, IsReplacedAsAWhole) {
  const test::TempDir directory;
  const auto path = directory.make_file("xenblk.prom", 10, 'x');
  const auto mask = ::umask(0077);
  ASSERT_TRUE(replace_file(path, "new\n").has_value());
  ::umask(mask);
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0644U) << "others read it";
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "new\n");
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST(MetricsFile, SaysWhyItCannotBeWritten) {
  const auto written = replace_file("/does/not/exist/xenblk.prom", "text");
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(describe(written.error()),
            "/does/not/exist/xenblk.prom.new: No such file or directory");
}

}  // namespace
}  // namespace xenblk::control
