// What a frontend wrote becomes a session, or the exact reason why not.
#include "backend/negotiation/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace xenblk::negotiation {
namespace {

using NodeMap = std::map<std::string, std::string, std::less<>>;

Expected<Session> negotiate_with(const NodeMap& nodes,
                                 Offer offer = {.max_ring_order = 4, .max_queues = 4}) {
  return negotiate(offer, [&](std::string_view name) -> std::optional<std::string> {
    const auto found = nodes.find(name);
    if (found == nodes.end()) return {};
    return found->second;
  });
}

Error refusal(const NodeMap& nodes, Offer offer = {.max_ring_order = 4, .max_queues = 4}) {
  const auto session = negotiate_with(nodes, offer);
  EXPECT_FALSE(session.has_value());
  return session ? Error{} : session.error();
}

NodeMap single_page() {
  return {{"protocol", "x86_64-abi"}, {"ring-ref", "8"}, {"event-channel", "9"}};
}
NodeMap with(NodeMap nodes, const std::string& name, const std::string& value) {
  nodes[name] = value;
  return nodes;
}
NodeMap without(NodeMap nodes, const std::string& name) {
  nodes.erase(name);
  return nodes;
}
NodeMap pages(std::uint32_t order, const std::string& prefix = "", std::uint32_t first_ref = 100) {
  NodeMap nodes{{"ring-page-order", std::to_string(order)}, {prefix + "event-channel", "9"}};
  for (std::uint32_t page = 0; page < (1U << order); ++page) {
    nodes[prefix + "ring-ref" + std::to_string(page)] = std::to_string(first_ref + page);
  }
  return nodes;
}

TEST(Session, TakesOnePageByTheSimpleScheme) {
  const Session expected{blkif::Layout::native, 0, {{{{8}}, {9}}}};
  EXPECT_EQ(negotiate_with(single_page()), expected);
}

TEST(Session, TakesX86_32) {
  EXPECT_EQ(negotiate_with(with(single_page(), "protocol", "x86_32-abi"))->layout,
            blkif::Layout::x86_32);
}

TEST(Session, TakesAMissingProtocolForX86_32AsEveryX86BackendDoes) {
  EXPECT_EQ(negotiate_with(without(single_page(), "protocol"))->layout, blkif::Layout::x86_32);
}

TEST(Session, RefusesAnUnknownProtocol) {
  EXPECT_EQ(refusal(with(single_page(), "protocol", "sparc-abi")),
            (Error{Errc::bad_node, 0, "protocol \"sparc-abi\" is unknown"}));
}

TEST(Session, NeverRepeatsUnprintableBytesOfTheGuest) {
  EXPECT_EQ(refusal(with(single_page(), "protocol", std::string("%n\x1b[2J\0x", 8))),
            (Error{Errc::bad_node, 0, "protocol \"%n?[2J?x\" is unknown"}));
}

TEST(Session, CutsALongValueInItsError) {
  EXPECT_EQ(refusal(with(single_page(), "protocol", std::string(2048, 'a'))).text,
            "protocol \"" + std::string(40, 'a') + "...\" is unknown");
}

class EveryOrder : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Session, EveryOrder, testing::Values(0, 1, 2, 3, 4));

TEST_P(EveryOrder, IsTakenByTheNumberedScheme) {
  const auto session = negotiate_with(pages(GetParam()));
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ(session->ring_order, GetParam());
  ASSERT_EQ(session->queues[0].ring_refs.size(), 1U << GetParam());
  EXPECT_EQ(session->queues[0].ring_refs.back().n, 99 + (1U << GetParam()));
}

TEST_P(EveryOrder, IsTakenByTheDeprecatedPageCount) {
  auto nodes = pages(GetParam());
  nodes.erase("ring-page-order");
  nodes["num-ring-pages"] = std::to_string(1U << GetParam());
  if (GetParam() == 0) nodes["ring-ref"] = "100";
  const auto session = negotiate_with(nodes);
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ(session->ring_order, GetParam());
}

TEST_P(EveryOrder, IsRefusedAboveTheOffer) {
  if (GetParam() == 0) return;  // order 0 is always offered
  EXPECT_EQ(refusal(pages(GetParam()), {.max_ring_order = GetParam() - 1, .max_queues = 1}).code,
            Errc::refused);
}

TEST(Session, TakesOrderZeroWithAPlainRingRef) {
  EXPECT_EQ(negotiate_with(with(single_page(), "ring-page-order", "0"))->queues[0].ring_refs,
            std::vector<GrantRef>{{8}});
}

TEST(Session, PrefersTheNumberedRefWithOrderZero) {
  auto nodes = with(single_page(), "ring-page-order", "0");
  EXPECT_EQ(negotiate_with(with(nodes, "ring-ref0", "7"))->queues[0].ring_refs,
            std::vector<GrantRef>{{7}});
}

TEST(Session, IgnoresANumberedRefThatAnEarlierFrontendLeft) {
  EXPECT_EQ(negotiate_with(with(single_page(), "ring-ref0", "7"))->queues[0].ring_refs,
            std::vector<GrantRef>{{8}});
}

TEST(Session, NamesTheMissingRingRef) {
  EXPECT_EQ(refusal(without(pages(2), "ring-ref3")),
            (Error{Errc::bad_node, 0, "ring-ref3 is missing"}));
}

TEST(Session, NamesTheMissingEventChannel) {
  EXPECT_EQ(refusal(without(single_page(), "event-channel")),
            (Error{Errc::bad_node, 0, "event-channel is missing"}));
}

TEST(Session, RefusesPortZero) {
  EXPECT_EQ(refusal(with(single_page(), "event-channel", "0")),
            (Error{Errc::bad_node, 0, "event-channel is 0"}));
}

TEST(Session, RefusesThePageCountThatIsNoPowerOfTwo) {
  EXPECT_EQ(refusal(with(single_page(), "num-ring-pages", "3")),
            (Error{Errc::refused, 0, "num-ring-pages is 3, powers of two up to 16 are offered"}));
}

TEST(Session, RefusesThePageCountZero) {
  EXPECT_EQ(refusal(with(single_page(), "num-ring-pages", "0")).code, Errc::refused);
}

TEST(Session, RefusesAPageThatIsUsedTwice) {
  EXPECT_EQ(refusal(with(pages(2), "ring-ref3", "100")),
            (Error{Errc::bad_node, 0, "ring-ref 100 is used for two ring pages"}));
}

class NotANumber : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Session, NotANumber,
                         testing::Values("", "-1", "+1", " 1", "1 ", "0x10", "4294967296",
                                         "99999999999", "eight", "8%n", std::string("8\0", 2),
                                         std::string(2048, '1')));

TEST_P(NotANumber, IsRefusedAsRingRef) {
  EXPECT_EQ(refusal(with(single_page(), "ring-ref", GetParam())).code, Errc::bad_node);
}
TEST_P(NotANumber, IsRefusedAsEventChannel) {
  EXPECT_EQ(refusal(with(single_page(), "event-channel", GetParam())).code, Errc::bad_node);
}
TEST_P(NotANumber, IsRefusedAsRingOrder) {
  EXPECT_EQ(refusal(with(single_page(), "ring-page-order", GetParam())).code, Errc::bad_node);
}
TEST_P(NotANumber, IsRefusedAsQueueCount) {
  EXPECT_EQ(refusal(with(single_page(), "multi-queue-num-queues", GetParam())).code,
            Errc::bad_node);
}

TEST(Session, ReadsTheKeysOfEachOfSeveralQueues) {
  auto nodes = pages(1, "queue-0/", 100);
  nodes.merge(pages(1, "queue-1/", 200));
  nodes["multi-queue-num-queues"] = "2";
  const auto session = negotiate_with(nodes);
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ(session->queues[1], (QueueSession{{{200}, {201}}, {9}}));
}

TEST(Session, ReadsOneQueueFromTheFrontendsOwnDirectory) {
  EXPECT_TRUE(negotiate_with(with(single_page(), "multi-queue-num-queues", "1")).has_value());
}

TEST(Session, RefusesNoQueues) {
  EXPECT_EQ(refusal(with(single_page(), "multi-queue-num-queues", "0")),
            (Error{Errc::refused, 0, "multi-queue-num-queues is 0, 1 to 4 are offered"}));
}

TEST(Session, RefusesMoreQueuesThanOffered) {
  EXPECT_EQ(refusal(with(single_page(), "multi-queue-num-queues", "5")).code, Errc::refused);
}

TEST(Session, NamesTheQueueWhoseKeyIsMissing) {
  auto nodes = pages(0, "queue-0/");
  nodes["multi-queue-num-queues"] = "2";
  EXPECT_EQ(refusal(nodes).text, "queue-1/ring-ref is missing");
}

TEST(Session, KeepsGrantsMappedOnlyWhenBothSidesSaySo) {
  const Offer offers{.max_ring_order = 4, .persistent_grants = true}, does_not{.max_ring_order = 4};
  const auto persistent = [](const NodeMap& nodes, const Offer& offer) {
    return negotiate_with(nodes, offer)->persistent_grants;
  };
  EXPECT_TRUE(persistent(with(single_page(), "feature-persistent", "1"), offers));
  EXPECT_FALSE(persistent(with(single_page(), "feature-persistent", "1"), does_not));
  for (const auto* value : {"0", "2", "yes", "", "01"}) {
    EXPECT_FALSE(persistent(with(single_page(), "feature-persistent", value), offers)) << value;
  }
  EXPECT_FALSE(persistent(single_page(), offers));
}

TEST(Properties, CountWholeLogicalSectors) {
  EXPECT_EQ(whole_sectors({4103}, 4096), SectorCount{4096});
  EXPECT_EQ(whole_sectors({4103}, 512), SectorCount{4103});
  const auto nodes = property_nodes({.capacity = {4096}, .logical_sector_bytes = 4096});
  for (const Node& node :
       {Node{"sectors", "4096"}, Node{"sector-size", "4096"}, Node{"physical-sector-size", "4096"},
        Node{"discard-granularity", "4096"}}) {
    EXPECT_NE(std::ranges::find(nodes, node), nodes.end()) << node.name;
  }
}

TEST(Session, AsksForABoundedNumberOfNodes) {
  int asked = 0;
  auto nodes = [&](std::string_view name) -> std::optional<std::string> {
    ++asked;
    if (name == "multi-queue-num-queues") return "4";
    if (name == "ring-page-order") return "4";
    return std::to_string(1000 + asked);
  };
  EXPECT_FALSE(negotiate({.max_ring_order = 4, .max_queues = 4}, nodes).has_value());  // protocol
  asked = 0;
  auto valid = [&](std::string_view name) {
    return name == "protocol" ? std::optional<std::string>("x86_64-abi") : nodes(name);
  };
  EXPECT_TRUE(negotiate({.max_ring_order = 4, .max_queues = 4}, valid).has_value());
  EXPECT_EQ(asked, 2 + 4 * 17);
}

TEST(Offer, SaysTheRingSizeInBothSchemes) {
  const std::vector<Node> expected{{"max-ring-page-order", "3"},
                                   {"max-ring-pages", "8"},
                                   {"multi-queue-max-queues", "2"},
                                   {"feature-max-indirect-segments", "256"}};
  EXPECT_EQ(offer_nodes({.max_ring_order = 3, .max_queues = 2}), expected);
}

TEST(Properties, HoldAllThatALinuxFrontendDemands) {
  const auto nodes = property_nodes({.capacity = {2048},
                                     .physical_sector_bytes = 4096,
                                     .access = Access::read_only,
                                     .cdrom = true,
                                     .removable = true});
  const std::vector<Node> expected{{"sectors", "2048"},
                                   {"sector-size", "512"},
                                   {"physical-sector-size", "4096"},
                                   {"info", "7"},
                                   {"feature-flush-cache", "1"},
                                   {"feature-barrier", "1"},
                                   {"feature-persistent", "0"},
                                   {"feature-discard", "0"},
                                   {"discard-granularity", "512"},
                                   {"discard-alignment", "0"},
                                   {"discard-secure", "0"}};
  EXPECT_EQ(nodes, expected);
}

TEST(Properties, SayWhatADiscardFrees) {
  const auto nodes = property_nodes({.capacity = {2048},
                                     .discard = true,
                                     .discard_granularity_bytes = 65536,
                                     .discard_alignment_bytes = 4096});
  for (const Node& node : {Node{"feature-discard", "1"}, Node{"discard-granularity", "65536"},
                           Node{"discard-alignment", "4096"}, Node{"discard-secure", "0"}}) {
    EXPECT_NE(std::ranges::find(nodes, node), nodes.end()) << node.name;
  }
}

}  // namespace
}  // namespace xenblk::negotiation
