// Differencing images as disks: whose parents are found, whose are not, and what the guest gets.
#include <filesystem>

#include "tests/backend/loopback_fixture.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::backend {
namespace {

class ChainDisks : public LoopbackTest {
 protected:
  void SetUp() override {
    for (const auto* folder : {"templates", "guests"}) {
      std::filesystem::create_directories(directory_.path(folder));
    }
    template_ = vhd_image("templates/t.vhd");
    child_ = directory_.path("guests/c.vhd");
    const auto made = vhd::make_snapshot({template_.substr(4), child_, {}}, vhd::Format::vhd);
    ASSERT_TRUE(made.has_value()) << describe(made.error());
  }
  std::string template_;
  std::string child_;
};

TEST_F(ChainDisks, AreServedWhereTheirParentMayLie) {
  start_host({.workers = 1, .images = {.image_directories = {directory_.path("templates")}}});
  connect(disk(template_));
  expect_writes_and_reads(*frontend_, 5);
  remove(disk(template_));
  connect(disk("vhd:" + child_));
  std::vector<std::byte> written(512), read(512);
  expect_okay(frontend_->read({0}, written));
  EXPECT_NE(written, read) << "the parent's content";
  expect_writes_and_reads(*frontend_, 6);
  remove(disk("vhd:" + child_));
}

TEST_F(ChainDisks, AreRefusedWhereItMayNot) {
  start_host();
  const auto refused = disk("vhd:" + child_);
  toolstack_.add_disk(refused);
  expect_node(refused, "image-state", "failed");
  EXPECT_NE(node(refused, "hotplug-error").find("../templates/t.vhd"), std::string::npos)
      << node(refused, "hotplug-error");
  EXPECT_NE(node(refused, "hotplug-error").find("outside"), std::string::npos)
      << node(refused, "hotplug-error");
}

}  // namespace
}  // namespace xenblk::backend
