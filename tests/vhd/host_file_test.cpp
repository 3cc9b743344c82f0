// Files of the host: what is opened, how it is locked, and reading and writing at any alignment.
#include "vhd/host_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/temp_dir.h"

namespace xenblk::vhd {
namespace {

using test::Bytes;

class HostFileTest : public ::testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<HostFile> open(const std::string& path, Access access = Access::read_write) {
    return std::move(open_host_file(path, {.access = access, .direct_io = GetParam()}).value());
  }
  Error open_error(const std::string& path, Access access = Access::read_write) {
    const auto file = open_host_file(path, {.access = access, .direct_io = GetParam()});
    return file ? Error{} : file.error();
  }
  test::TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(DirectAndCached, HostFileTest, ::testing::Values(true, false),
                         [](const auto& param) { return param.param ? "Direct" : "Cached"; });

constexpr std::size_t kCachedPages = 16;

// Of the first kCachedPages of the file.
std::ptrdiff_t pages_in_cache(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  constexpr auto kBytes = kCachedPages * kPageBytes;
  void* const map = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, file, 0);
  ::close(file);
  std::array<unsigned char, kCachedPages> resident{};
  EXPECT_EQ(::mincore(map, kBytes, resident.data()), 0);
  ::munmap(map, kBytes);
  return std::ranges::count_if(resident, [](unsigned char page) { return (page & 1U) != 0; });
}

// What another program left there slows down each direct write.
TEST(HostFile, HasNothingInThePageCacheOnceOpenForDirectWrites) {
  const test::TempDir dir;
  const auto path = dir.make_file("a", kCachedPages * kPageBytes, 'a');
  const int other = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::fsync(other), 0);
  ::close(other);
  ASSERT_EQ(pages_in_cache(path), kCachedPages);
  const auto file = open_host_file(path, {.access = Access::read_write}).value();
  if (file->alignment_bytes() == 1) GTEST_SKIP() << "no direct I/O on this file system";
  EXPECT_EQ(pages_in_cache(path), 0);
}

TEST_P(HostFileTest, SaysThatAFileIsMissing) {
  const auto path = dir_.path("none");
  EXPECT_EQ(open_error(path), (Error{Errc::not_found, ENOENT, path}));
}

TEST_P(HostFileTest, RefusesADirectory) {
  const auto path = dir_.path("");
  EXPECT_EQ(open_error(path),
            (Error{Errc::bad_spec, 0, path + ": neither a regular file nor a block device"}));
}

TEST_P(HostFileTest, DoesNotHangOnAFifo) {
  const auto path = dir_.path("fifo");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(open_error(path).code, Errc::bad_spec);
}

TEST_P(HostFileTest, RefusesACharacterDevice) {
  EXPECT_EQ(open_error("/dev/zero").code, Errc::bad_spec);
}

TEST_P(HostFileTest, HasOneWriterAtATime) {
  const auto path = dir_.make_file("a", 4096);
  const auto writer = open(path);
  EXPECT_EQ(open_error(path), (Error{Errc::locked, EAGAIN, path + ": locked by another process"}));
  EXPECT_EQ(open_error(path, Access::read_only).code, Errc::locked);
}

TEST_P(HostFileTest, HasManyReadersAndThenNoWriter) {
  const auto path = dir_.make_file("a", 4096);
  const auto one = open(path, Access::read_only);
  const auto two = open(path, Access::read_only);
  EXPECT_EQ(open_error(path).code, Errc::locked);
}

TEST_P(HostFileTest, IsFreeAgainOnceClosed) {
  const auto path = dir_.make_file("a", 4096);
  open(path).reset();
  EXPECT_EQ(open_error(path), Error{});
}

TEST_P(HostFileTest, IsTheSameFileByAnyPath) {
  const auto path = dir_.make_file("a", 4096);
  ASSERT_EQ(::link(path.c_str(), dir_.path("hard").c_str()), 0);
  ASSERT_EQ(::symlink(path.c_str(), dir_.path("soft").c_str()), 0);
  EXPECT_EQ(identify_host_file(dir_.path("hard")), identify_host_file(path));
  EXPECT_EQ(identify_host_file(dir_.path("soft")), identify_host_file(path));
}

TEST_P(HostFileTest, SaysThatTheFileEndsEarly) {
  const auto path = dir_.make_file("a", 1000);
  const auto file = open(path);
  Bytes buffer(512);
  EXPECT_EQ(file->read_at(600, buffer).error(),
            (Error{Errc::bad_image, 0, path + ": the file ends early"}));
}

TEST_P(HostFileTest, ReadsUpToTheLastByte) {
  const auto file = open(dir_.make_file("a", 1000, 'x'));
  Bytes buffer(511);
  ASSERT_TRUE(file->read_at(1000 - 511, buffer));
  EXPECT_EQ(buffer, Bytes(511, std::byte{'x'}));
}

TEST_P(HostFileTest, KeepsAnOddEndWhenItWrites) {
  const auto file = open(dir_.make_file("a", 700));
  ASSERT_TRUE(file->write_at(690, Bytes(20)));
  EXPECT_EQ(file->size_bytes(), 710U);
}

TEST_P(HostFileTest, PunchesHolesAndFindsThem) {
  const auto file = open(dir_.make_file("a", 1 << 20, 'x'));
  ASSERT_TRUE(file->punch_hole(0, 65536));
  ASSERT_TRUE(file->sync_data());
  EXPECT_EQ(file->next_data(0), 65536U);
  EXPECT_EQ(file->next_hole(0), 0U);
  EXPECT_EQ(file->next_hole(65536), 1U << 20);
  Bytes buffer(512, std::byte{1});
  ASSERT_TRUE(file->read_at(65536 - 512, buffer));
  EXPECT_EQ(buffer, Bytes(512));
}

TEST_P(HostFileTest, FindsNoDataBeyondTheEnd) {
  const auto file = open(dir_.make_file("a", 4096));
  EXPECT_EQ(file->next_data(9999), 4096U);
}

TEST_P(HostFileTest, WritesAnyRangeLikeAMemory) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto file = open(dir_.make_file("a", 20000));
  Bytes expected(20000);
  for (int round = 0; round < 200; ++round) {
    const auto offset = random() % 20000;
    const Bytes data(1 + random() % 3000, static_cast<std::byte>(random()));
    if (offset + data.size() > expected.size()) expected.resize(offset + data.size());
    std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(offset));
    ASSERT_TRUE(file->write_at(offset, data));
  }
  ASSERT_EQ(file->size_bytes(), expected.size());
  Bytes found(expected.size() - 3);
  ASSERT_TRUE(file->read_at(3, found));
  EXPECT_TRUE(std::ranges::equal(found, std::span(expected).subspan(3)));
}

}  // namespace
}  // namespace xenblk::vhd
