// Grants that stay mapped: what is found, what is mapped, what has to go, and what a guest can do
// with references that are not what they were.
#include "ringio/grant_cache.h"

#include <gtest/gtest.h>

#include <list>
#include <random>

#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;

// --- the cache itself ---
class GrantCacheTest : public testing::Test {
 protected:
  loopback::LoopbackXen xen;
  std::shared_ptr<loopback::GuestDomain> domain = xen.create_domain({7});
  std::unique_ptr<GrantTable> grants = *xen.host().open_grant_table();

  GrantRef grant(std::byte content, Access access = Access::read_write) {
    const auto page = domain->allocate_pages(1);
    page[0] = content;
    return domain->grant(page.data(), kBackend, access);
  }
  // The cache is full: the reference takes the place of the oldest only after many tries.
  static std::byte* find_at_last(GrantCache& cache, GrantRef ref) {
    for (int i = 0; i < 64; ++i) {
      cache.begin_move();
      if (auto* page = cache.find(ref)) return page;
    }
    return nullptr;
  }
};

TEST_F(GrantCacheTest, MapsOnceAndFindsAgain) {
  GrantCache cache(*grants, domain->id(), 4);
  const auto ref = grant(std::byte{0x11});
  auto* const page = cache.find(ref);
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page[0], std::byte{0x11});
  EXPECT_EQ(cache.find(ref), page);
  EXPECT_EQ(xen.usage().map_calls, 1U);
}
TEST_F(GrantCacheTest, LeavesWhatCannotBeMappedToTheHypervisor) {
  GrantCache cache(*grants, domain->id(), 4);
  EXPECT_EQ(cache.find({31000}), nullptr);
  EXPECT_EQ(cache.find(grant(std::byte{1}, Access::read_only)), nullptr);
  EXPECT_EQ(cache.mapped_pages(), 0U);
}
TEST_F(GrantCacheTest, MapsOnlySoManyAtATime) {
  GrantCache cache(*grants, domain->id(), 100);
  for (int i = 0; i < 100; ++i) cache.find(grant(std::byte{1}));
  EXPECT_EQ(cache.mapped_pages(), 16U);
  cache.begin_move();
  for (int i = 0; i < 100; ++i) cache.find(grant(std::byte{1}));
  EXPECT_EQ(cache.mapped_pages(), 32U);
}
TEST_F(GrantCacheTest, ReplacesTheOneThatWasNotUsedForLongestAndOnlyNowAndThen) {
  GrantCache cache(*grants, domain->id(), 3);
  const auto a = grant(std::byte{1}), b = grant(std::byte{2}), c = grant(std::byte{3});
  for (const auto ref : {a, b, c, a}) ASSERT_NE(cache.find(ref), nullptr);
  const auto calls = xen.usage().map_calls.load();
  auto* const page = find_at_last(cache, grant(std::byte{4}));
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page[0], std::byte{4});
  EXPECT_EQ(xen.usage().map_calls, calls + 1);
  EXPECT_FALSE(domain->is_mapped(b)) << "the oldest";
  EXPECT_TRUE(domain->is_mapped(a));
  EXPECT_EQ(cache.mapped_pages(), 3U);
}
TEST_F(GrantCacheTest, AReferenceThatStandsForAnotherPageIsMappedAnew) {
  GrantCache cache(*grants, domain->id(), 1);
  const auto first = grant(std::byte{1});
  ASSERT_EQ(cache.find(first)[0], std::byte{1});
  EXPECT_EQ(domain->revoke(first), loopback::Revoked::still_mapped);
  ASSERT_NE(find_at_last(cache, grant(std::byte{2})), nullptr);
  ASSERT_EQ(domain->revoke(first), loopback::Revoked::ended);
  const auto again = grant(std::byte{3});
  ASSERT_EQ(again, first) << "a guest uses the last one first";
  EXPECT_EQ(find_at_last(cache, again)[0], std::byte{3});
}
TEST_F(GrantCacheTest, UnmapsEverythingAtTheEnd) {
  {
    GrantCache cache(*grants, domain->id(), 16);
    for (int i = 0; i < 16; ++i) cache.find(grant(std::byte{1}));
    EXPECT_EQ(xen.usage().mapped_pages, 16U);
  }
  EXPECT_EQ(xen.usage().mapped_pages, 0U);
}
TEST_F(GrantCacheTest, AlwaysFindsTheRightPage) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  GrantCache cache(*grants, domain->id(), 24);
  std::vector<std::pair<GrantRef, std::byte>> refs;
  for (int i = 0; i < 40; ++i) refs.emplace_back(grant(std::byte(i)), std::byte(i));
  std::uint64_t found = 0;
  for (int i = 0; i < 100'000; ++i) {
    cache.begin_move();
    // Some more often than others.
    const auto& [ref, content] = refs[random() % (1 + random() % refs.size())];
    const auto* page = cache.find(ref);
    if (page == nullptr) continue;
    ++found;
    ASSERT_EQ(page[0], content);
    ASSERT_LE(cache.mapped_pages(), 24U);
  }
  EXPECT_GT(found, 50'000U);
}

TEST_F(GrantCacheTest, UnmapsWhatWasNotUsedForAWholePeriod) {
  GrantCache cache(*grants, domain->id(), 8);
  const auto idle = grant(std::byte{1}), used = grant(std::byte{2});
  ASSERT_NE(cache.find(idle), nullptr);
  ASSERT_NE(cache.find(used), nullptr);
  cache.age();
  EXPECT_EQ(cache.mapped_pages(), 2U) << "both were used in the period that has just ended";
  ASSERT_NE(cache.find(used), nullptr);
  cache.age();
  EXPECT_FALSE(domain->is_mapped(idle));
  EXPECT_TRUE(domain->is_mapped(used));
  cache.age();
  EXPECT_EQ(xen.usage().mapped_pages, 0U);
  EXPECT_EQ(domain->revoke(idle), loopback::Revoked::ended) << "the guest has its page back";
  cache.age();
}
TEST_F(GrantCacheTest, FindsAgainWhatWasUnmappedForItsAge) {
  GrantCache cache(*grants, domain->id(), 2);
  const auto ref = grant(std::byte{1});
  for (int round = 0; round < 10; ++round) {
    cache.begin_move();
    ASSERT_EQ(cache.find(ref)[0], std::byte{1});
    cache.age();
    cache.age();
    ASSERT_EQ(cache.mapped_pages(), 0U);
  }
}
TEST_F(GrantCacheTest, UnmapsOnlySoManyAtATimeTheOldestFirst) {
  constexpr std::uint32_t kPages = GrantCache::kUnmapsEach + 10;
  GrantCache cache(*grants, domain->id(), kPages);
  std::vector<GrantRef> refs;
  for (std::uint32_t i = 0; i < kPages; ++i) {
    cache.begin_move();
    refs.push_back(grant(std::byte{1}));
    ASSERT_NE(cache.find(refs.back()), nullptr);
  }
  cache.age();
  cache.age();
  EXPECT_EQ(cache.mapped_pages(), 10U);
  EXPECT_FALSE(domain->is_mapped(refs[GrantCache::kUnmapsEach - 1]));
  EXPECT_TRUE(domain->is_mapped(refs[GrantCache::kUnmapsEach]));
  cache.age();
  EXPECT_EQ(cache.mapped_pages(), 0U);
}

// --- a queue with it ---
class PersistentQueue : public OneQueue {
 protected:
  void SetUp() override {
    auto setup = queue.setup(world.image);
    setup.persistent_grants = true;
    setup.indirect_segments_max = 256;
    world.connect(std::move(setup));
  }
};
XENBLK_FOR_ALL_LAYOUTS(PersistentQueue);

TEST_P(PersistentQueue, MovesDataWithoutTheHypervisor) {
  page.memory[100] = std::byte{0x21};
  EXPECT_EQ(world.status(queue, queue.write(0, page.ref)), Status::okay);
  EXPECT_EQ(world.image->sectors(0, 1)[100], std::byte{0x21});
  world.image->fill(std::byte{0x22});
  EXPECT_EQ(world.status(queue, queue.read(0, page.ref)), Status::okay);
  EXPECT_EQ(page.memory[100], std::byte{0x22});
  EXPECT_EQ(world.xen.usage().copy_calls, 0U);
}
TEST_P(PersistentQueue, WritesOnlyTheSectorsOfASegment) {
  world.image->fill(std::byte{0x66});
  std::ranges::fill(page.memory, std::byte{1});
  EXPECT_EQ(world.status(queue, queue.transfer(Op::read, 0, {{page.ref, 2, 3}})), Status::okay);
  for (std::size_t i = 0; i < kPageBytes; ++i) {
    ASSERT_EQ(page.memory[i], std::byte(i >= 1024 && i < 2048 ? 0x66 : 1)) << i;
  }
}
TEST_P(PersistentQueue, AnswersBadReferencesAsAnyOtherQueue) {
  const auto read_only = queue.page(Access::read_only, std::byte{0x11});
  EXPECT_EQ(world.status(queue, queue.write(0, read_only.ref)), Status::okay);
  EXPECT_EQ(world.status(queue, queue.read(0, read_only.ref)), Status::error);
  EXPECT_EQ(read_only.memory[0], std::byte{0x11});
  EXPECT_EQ(world.status(queue, queue.read(0, {31000})), Status::error);
  const auto request = queue.transfer(Op::write, 0, {{page.ref}, {{31000}}, {page.ref}});
  EXPECT_EQ(world.status(queue, request), Status::error);
  EXPECT_EQ((*queue.counters)[Trouble::grant_copy_failed].get(), 3U);
  expect_alive();
}
TEST_P(PersistentQueue, DataThatChangesAfterItWasTakenChangesNothing) {
  std::ranges::fill(page.memory, std::byte{5});
  world.image->hold();
  queue.send(queue.write(0, page.ref));
  world.settle();
  std::ranges::fill(page.memory, std::byte{6});
  world.image->release_all();
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
  EXPECT_EQ(world.image->sectors(0, 8)[77], std::byte{5});
}
TEST_P(PersistentQueue, APageIsUsedAgainInOtherPlacesAndSizes) {
  std::ranges::fill(page.memory, std::byte{1});
  EXPECT_EQ(world.status(queue, queue.write(0, page.ref)), Status::okay);
  for (std::uint8_t first = 0; first < 8; ++first) {
    for (std::uint8_t last = first; last < 8; ++last) {
      const auto mark = std::byte(0x40 + first * 8 + last);
      std::ranges::fill(page.memory.subspan(first * 512U, (last - first + 1U) * 512U), mark);
      const auto segment = FrontendSegment{page.ref, first, last};
      ASSERT_EQ(world.status(queue, queue.transfer(Op::write, 100, {segment})), Status::okay);
      for (std::uint64_t i = 0; i <= last - std::uint64_t{first}; ++i) {
        ASSERT_EQ(world.image->sectors(100 + i, 1)[511], mark);
      }
    }
  }
  for (const auto& [first, last] : {std::pair{8, 8}, std::pair{0, 8}, std::pair{5, 4}}) {
    const FrontendSegment segment{page.ref, static_cast<std::uint8_t>(first),
                                  static_cast<std::uint8_t>(last)};
    EXPECT_EQ(world.status(queue, queue.transfer(Op::read, 0, {segment})), Status::error);
  }
  EXPECT_EQ(world.xen.usage().copy_calls, 0U);
  expect_alive();
}
TEST_P(PersistentQueue, AReferenceThatWasEndedAfterItsAgeIsAnError) {
  expect_alive();
  world.core->age_grants(world.connected[0]);
  world.core->age_grants(world.connected[0]);
  EXPECT_EQ(domain->revoke(page.ref), loopback::Revoked::ended);
  EXPECT_EQ(world.status(queue, queue.read(0, page.ref)), Status::error);
  page = queue.page();
  expect_alive();
}
TEST_P(PersistentQueue, AReferenceRevokedAfterItWasMappedHarmsNobody) {
  expect_alive();
  EXPECT_EQ(domain->revoke(page.ref), loopback::Revoked::still_mapped);
  expect_alive();
}
TEST_P(PersistentQueue, KeepsNoMoreThanItsLimit) {
  for (int round = 0; round < 80; ++round) {
    for (int i = 0; i < 32; ++i) {
      std::vector<FrontendSegment> data;
      for (int n = 0; n < 4; ++n) data.push_back({queue.page().ref});
      queue.put(queue.transfer(Op::read, 0, data));
    }
    queue.push();
    world.settle();
    for (const auto& response : queue.take()) ASSERT_EQ(response.status, Status::okay);
  }
  EXPECT_EQ(world.xen.usage().mapped_pages, 1U + 32U * 33U) << "of 10,240 that were used";
}
TEST_P(PersistentQueue, LargeRequestsMixBothWays) {
  std::vector<FrontendSegment> data;
  std::vector<GuestPage> pages;
  for (int i = 0; i < 200; ++i) {
    pages.push_back(queue.page(Access::read_write, std::byte(i)));
    data.push_back({pages.back().ref});
  }
  for (int round = 0; round < 16; ++round) {
    EXPECT_EQ(world.status(queue, queue.indirect(Op::write, 0, data)), Status::okay);
    for (std::uint64_t i = 0; i < 200; ++i) {
      ASSERT_EQ(world.image->sectors(i * 8, 1)[9], std::byte(i));
    }
    for (auto& one : pages) std::ranges::fill(one.memory, std::byte{0});
    EXPECT_EQ(world.status(queue, queue.indirect(Op::read, 0, data)), Status::okay);
    for (std::size_t i = 0; i < 200; ++i) ASSERT_EQ(pages[i].memory[4000], std::byte(i));
    world.image->fill(std::byte{0});
  }
}

}  // namespace
}  // namespace xenblk::ringio::test
