#include "backend/negotiation/standing_offer.h"

#include <gtest/gtest.h>

#include <map>

namespace xenblk::negotiation {
namespace {

class StandingOffer : public ::testing::Test {
 protected:
  Offer read() const {
    return standing_offer([this](std::string_view name) -> std::optional<std::string> {
      const auto node = nodes_.find(std::string(name));
      return node == nodes_.end() ? std::nullopt : std::optional(node->second);
    });
  }
  std::map<std::string, std::string> nodes_;
};

TEST_F(StandingOffer, IsWhatAnEarlierDaemonPublished) {
  const Offer earlier{.max_ring_order = 3,
                      .max_queues = 5,
                      .max_indirect_segments = 77,
                      .persistent_grants = true,
                      .logical_sector_bytes = 4096};
  for (const auto& node : offer_nodes(earlier)) nodes_[node.name] = node.value;
  for (const auto& node :
       property_nodes({.logical_sector_bytes = 4096, .persistent_grants = true})) {
    nodes_[node.name] = node.value;
  }
  const auto found = read();
  EXPECT_EQ(found.max_ring_order, 3U);
  EXPECT_EQ(found.max_queues, 5U);
  EXPECT_EQ(found.max_indirect_segments, 77U);
  EXPECT_TRUE(found.persistent_grants);
  EXPECT_EQ(found.logical_sector_bytes, 4096U);
}

TEST_F(StandingOffer, HasNothingThatIsMissingOrNonsense) {
  for (const auto* value : {"", "-1", "99999", "x"}) {
    const auto found = read();
    EXPECT_EQ(found.max_ring_order, 0U) << value;
    EXPECT_EQ(found.max_queues, 1U) << value;
    EXPECT_EQ(found.max_indirect_segments, 0U) << value;
    EXPECT_FALSE(found.persistent_grants) << value;
    EXPECT_EQ(found.logical_sector_bytes, 512U) << value;
    for (const auto* name : {"max-ring-page-order", "multi-queue-max-queues", "sector-size",
                             "feature-max-indirect-segments", "feature-persistent"}) {
      nodes_[name] = value;
    }
  }
}

}  // namespace
}  // namespace xenblk::negotiation
