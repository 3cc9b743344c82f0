// Publications are all or nothing, and never overwrite what the toolstack has written meanwhile.
#include "backend/store.h"

#include <gtest/gtest.h>

#include <functional>

#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::backend {
namespace {

using negotiation::Node;
using negotiation::XenbusState;

const std::string kDirectory = "/local/domain/0/backend/vbd/1/51712";
const std::vector<Node> kNodes{{"sectors", "2048"}, {"state", "4"}};

class Publish : public testing::Test {
 protected:
  void SetUp() override { write("state", "2"); }
  void write(const std::string& node, const std::string& value) {
    ASSERT_TRUE(toolstack_->write(kDirectory + "/" + node, value, {}).has_value());
  }
  std::string node(const std::string& name) {
    return read_node(*toolstack_, kDirectory + "/" + name).value_or("missing");
  }
  Expected<Published> publish_from_init_wait() {
    return publish(*store_, kDirectory, XenbusState::init_wait, kNodes);
  }

  loopback::LoopbackXen xen_;
  std::unique_ptr<XenStore> store_ = std::move(*xen_.host().open_store());
  std::unique_ptr<XenStore> toolstack_ = std::move(*xen_.host().open_store());
};

TEST_F(Publish, WritesAllNodes) {
  EXPECT_EQ(publish_from_init_wait(), Published::done);
  EXPECT_EQ(node("sectors"), "2048");
  EXPECT_EQ(node("state"), "4");
}

TEST_F(Publish, WritesNothingOverACloseOfTheToolstack) {
  write("state", "5");
  EXPECT_EQ(publish_from_init_wait(), Published::outdated);
  EXPECT_EQ(node("sectors"), "missing");
  EXPECT_EQ(node("state"), "5");
}

TEST_F(Publish, DoesNotMakeARemovedDirectoryAgain) {
  ASSERT_TRUE(toolstack_->remove(kDirectory, {}).has_value());
  EXPECT_EQ(publish_from_init_wait(), Published::outdated);
  EXPECT_EQ(node("sectors"), "missing");
}

TEST_F(Publish, TriesAgainWhenTransactionsConflict) {
  xen_.faults().commit_conflicts.set(kPublishTries - 1);
  EXPECT_EQ(publish_from_init_wait(), Published::done);
}

TEST_F(Publish, GivesUpWhenTransactionsConflictForEver) {
  xen_.faults().commit_conflicts.set(1000000);
  const auto result = publish_from_init_wait();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error(),
            (Error{Errc::conflict, 0, "XenStore refused 50 transactions in a row"}));
}

TEST_F(Publish, WritesNothingWhenOneWriteFails) {
  xen_.faults().failed_writes.set(1);
  const auto result = publish_from_init_wait();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::io);
  EXPECT_EQ(node("sectors"), "missing");
}

TEST_F(Publish, ReadsAMissingNodeAsNothing) {
  EXPECT_EQ(read_node(*store_, kDirectory + "/nothing"), std::nullopt);
}

}  // namespace
}  // namespace xenblk::backend
