// Is there room for the daemon on this host?
#include "backend/daemon/host.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace xenblk::daemon {
namespace {

class Host : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/xenblk-host-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(Host, HasRoomWhenNoKernelDriverIsThere) {
  EXPECT_TRUE(refuse_kernel_backend({"vbd", "vbd3"}, directory_).has_value());
}

TEST_F(Host, HasNoRoomBesideTheKernelsBackend) {
  std::filesystem::create_directory(directory_ + "/vbd");
  const auto refused = refuse_kernel_backend({"vbd3", "vbd"}, directory_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::unavailable);
  EXPECT_NE(refused.error().text.find("rmmod xen-blkback"), std::string::npos);
}

TEST_F(Host, LeavesTheKernelsBackendAloneUnderAnotherName) {
  std::filesystem::create_directory(directory_ + "/vbd");
  EXPECT_TRUE(refuse_kernel_backend({"vbd3"}, directory_).has_value());
}

TEST_F(Host, RunsOneDaemon) {
  const auto first = PidFile::take(directory_);
  ASSERT_TRUE(first.has_value());
  const auto second = PidFile::take(directory_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error(),
            (Error{Errc::unavailable, 0,
                   "another xenblkd is running, process " + std::to_string(::getpid())}));
}

TEST_F(Host, IsFreeAgainWhenTheDaemonHasEnded) {
  {
    ASSERT_TRUE(PidFile::take(directory_).has_value());
  }
  EXPECT_TRUE(PidFile::take(directory_).has_value());
}

TEST_F(Host, SaysWhichDirectoryCannotBeMade) {
  const auto refused = PidFile::take(directory_ + "/missing/below");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), (Error{Errc::not_found, ENOENT, directory_ + "/missing/below"}));
}

}  // namespace
}  // namespace xenblk::daemon
