// XenStore paths name a device only when they are exactly what a toolstack writes.
#include "backend/negotiation/paths.h"

#include <gtest/gtest.h>

namespace xenblk::negotiation {
namespace {

const DeviceKey kDisk{"vbd", {3}, {51712}};

TEST(DeviceOfPath, FindsTheDeviceOfANodeBelowIt) {
  EXPECT_EQ(device_of_path("backend/vbd/3/51712/state", "vbd"), kDisk);
}
TEST(DeviceOfPath, FindsItInAnAbsolutePath) {
  EXPECT_EQ(device_of_path("/local/domain/0/backend/vbd/3/51712", "vbd"), kDisk);
}

class NoDevice : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(DeviceOfPath, NoDevice,
                         testing::Values("", "/", "backend/vbd", "backend/vbd/3",
                                         "backend/vbd3/3/51712", "backend/vbd/3/",
                                         "backend/vbd/-3/51712", "backend/vbd/03/51712",
                                         "backend/vbd/65536/1", "backend/vbd/3/4294967296",
                                         "backend/vbd/x/51712",
                                         "/other/domain/0/backend/vbd/3/51712", "@releaseDomain"));
TEST_P(NoDevice, IsFoundInOtherPaths) {
  EXPECT_EQ(device_of_path(GetParam(), "vbd"), std::nullopt);
}

TEST(Paths, AreWhatToolstacksUse) {
  EXPECT_EQ(backend_path(kDisk), "backend/vbd/3/51712");
  EXPECT_EQ(frontend_path(kDisk), "/local/domain/3/device/vbd/51712");
  EXPECT_EQ(error_path(kDisk), "error/backend/vbd/3/51712");
  EXPECT_EQ(display_name(kDisk), "vbd 3/51712");
}

}  // namespace
}  // namespace xenblk::negotiation
