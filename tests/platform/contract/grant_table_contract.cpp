// The rules of the grant table seam (xenblk/xen.h), on every implementation.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/platform/contract/world.h"

namespace xenblk::contract {
namespace {

class GrantTableContract : public testing::Test {
 protected:
  GrantTableContract() : world_(make_world()), table_(world_->xen().open_grant_table().value()) {}

  std::vector<PeerPage> grant_pages(std::size_t count, Access access) {
    std::vector<PeerPage> pages;
    for (std::size_t i = 0; i < count; ++i) {
      pages.push_back(world_->grant_page(access));
      std::memset(pages.back().address, static_cast<int>('a' + i % 26), kPageBytes);
    }
    return pages;
  }

  static std::vector<GrantRef> refs_of(const std::vector<PeerPage>& pages) {
    std::vector<GrantRef> refs;
    for (const auto& page : pages) refs.push_back(page.ref);
    return refs;
  }

  Expected<GrantMapping> map(const std::vector<GrantRef>& refs, Access access) {
    return table_->map(world_->peer(), refs, access);
  }

  Errc map_error(const std::vector<GrantRef>& refs, Access access) {
    const auto mapping = map(refs, access);
    EXPECT_FALSE(mapping.has_value());
    return mapping ? Errc::io : mapping.error().code;
  }

  CopyStatus copy(GrantCopy segment, CopyDirection direction) {
    table_->copy(world_->peer(), {&segment, 1}, direction);
    return segment.status;
  }

  std::byte* local() { return buffer_.data(); }

  std::unique_ptr<World> world_;
  std::unique_ptr<GrantTable> table_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(std::size_t{16} * kPageBytes);
};

TEST_F(GrantTableContract, MapsPagesContiguouslyInTheOrderOfTheReferences) {
  const auto pages = grant_pages(16, Access::read_write);
  const auto mapping = map(refs_of(pages), Access::read_write).value();
  ASSERT_EQ(mapping.pages(), 16U);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(std::memcmp(mapping.address() + i * kPageBytes, pages[i].address, kPageBytes), 0);
  }
}

TEST_F(GrantTableContract, MapsUpToTheLimitAtOnce) {
  const auto pages = grant_pages(GrantTable::kMaxMapPages, Access::read_write);
  const auto mapping = map(refs_of(pages), Access::read_write).value();
  EXPECT_EQ(mapping.address()[63 * std::size_t{kPageBytes}], pages[63].address[0]);
}

TEST_F(GrantTableContract, SharesAMappedPageBothWays) {
  const auto page = world_->grant_page(Access::read_write);
  const auto mapping = map({page.ref}, Access::read_write).value();
  mapping.address()[7] = std::byte{42};
  page.address[8] = std::byte{43};
  EXPECT_EQ(page.address[7], std::byte{42});
  EXPECT_EQ(mapping.address()[8], std::byte{43});
}

TEST_F(GrantTableContract, MapsAReadOnlyGrantForReading) {
  const auto pages = grant_pages(2, Access::read_only);
  const auto mapping = map(refs_of(pages), Access::read_only).value();
  EXPECT_EQ(mapping.address()[kPageBytes], std::byte{'b'});
}

TEST_F(GrantTableContract, RefusesToMapAReadOnlyGrantForWriting) {
  const auto page = world_->grant_page(Access::read_only);
  EXPECT_EQ(map_error({page.ref}, Access::read_write), Errc::bad_grant);
}

TEST_F(GrantTableContract, RefusesToMapWhatWasNotGranted) {
  EXPECT_EQ(map_error({world_->unused_ref()}, Access::read_write), Errc::bad_grant);
  EXPECT_EQ(map_error({World::absurd_ref()}, Access::read_write), Errc::bad_grant);
}

TEST_F(GrantTableContract, MapsAllOrNothing) {
  const auto page = world_->grant_page(Access::read_write);
  EXPECT_EQ(map_error({page.ref, world_->unused_ref()}, Access::read_write), Errc::bad_grant);
  EXPECT_TRUE(map({page.ref}, Access::read_write).has_value());
}

TEST_F(GrantTableContract, MapsTheSamePageTwice) {
  const auto page = world_->grant_page(Access::read_write);
  const auto mapping = map({page.ref, page.ref}, Access::read_write).value();
  mapping.address()[0] = std::byte{9};
  EXPECT_EQ(mapping.address()[kPageBytes], std::byte{9});
}

TEST_F(GrantTableContract, MapsAgainAfterUnmapping) {
  const auto page = world_->grant_page(Access::read_write);
  map({page.ref}, Access::read_write).value().reset();
  EXPECT_TRUE(map({page.ref}, Access::read_write).has_value());
}

TEST_F(GrantTableContract, CopiesFromTheGuest) {
  const auto page = grant_pages(1, Access::read_only)[0];
  page.address[512] = std::byte{'x'};
  EXPECT_EQ(copy({page.ref, 512, 2, local()}, CopyDirection::from_guest), CopyStatus::okay);
  EXPECT_EQ(std::memcmp(local(), "xa", 2), 0);
  EXPECT_EQ(local()[2], std::byte{0});
}

TEST_F(GrantTableContract, CopiesToTheGuest) {
  const auto page = grant_pages(1, Access::read_write)[0];
  std::memset(local(), 'z', 3);
  EXPECT_EQ(copy({page.ref, 4093, 3, local()}, CopyDirection::to_guest), CopyStatus::okay);
  EXPECT_EQ(std::memcmp(page.address + 4092, "azzz", 4), 0);
}

TEST_F(GrantTableContract, CopiesWhereTheLocalSideCrossesPages) {
  const auto page = grant_pages(1, Access::read_write)[0];
  std::byte* const crossing = local() + kPageBytes - 100;
  EXPECT_EQ(copy({page.ref, 0, 4096, crossing}, CopyDirection::from_guest), CopyStatus::okay);
  EXPECT_EQ(std::memcmp(crossing, page.address, kPageBytes), 0);
  std::memset(crossing, 'q', kPageBytes);
  EXPECT_EQ(copy({page.ref, 0, 4096, crossing}, CopyDirection::to_guest), CopyStatus::okay);
  EXPECT_EQ(std::memcmp(crossing, page.address, kPageBytes), 0);
}

TEST_F(GrantTableContract, CopiesManySegmentsInOneCall) {
  const auto pages = grant_pages(3, Access::read_only);
  std::vector<GrantCopy> segments;
  for (std::uint16_t i = 0; i < 100; ++i) {
    segments.push_back({pages[i % 3U].ref, i, 1, local() + i});
  }
  table_->copy(world_->peer(), segments, CopyDirection::from_guest);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    ASSERT_EQ(segments[i].status, CopyStatus::okay);
    ASSERT_EQ(local()[i], pages[i % 3].address[0]);
  }
}

TEST_F(GrantTableContract, CopiesGoodSegmentsBesideBadOnes) {
  const auto page = grant_pages(1, Access::read_only)[0];
  GrantCopy segments[] = {{World::absurd_ref(), 0, 8, local()},
                          {page.ref, 4090, 7, local()},
                          {page.ref, 0, 0, local()},
                          {page.ref, 0, 8, local() + 64}};
  table_->copy(world_->peer(), segments, CopyDirection::from_guest);
  EXPECT_EQ(segments[0].status, CopyStatus::bad_ref);
  EXPECT_EQ(segments[1].status, CopyStatus::bad_range);
  EXPECT_EQ(segments[2].status, CopyStatus::bad_range);
  EXPECT_EQ(segments[3].status, CopyStatus::okay);
  EXPECT_EQ(local()[64], std::byte{'a'});
}

TEST_F(GrantTableContract, RefusesToCopyThroughAReferenceThatWasNotGranted) {
  const GrantCopy segment{world_->unused_ref(), 0, 8, local()};
  EXPECT_EQ(copy(segment, CopyDirection::from_guest), CopyStatus::failed);
}

TEST_F(GrantTableContract, RefusesToWriteThroughAReadOnlyGrant) {
  const auto page = grant_pages(1, Access::read_only)[0];
  EXPECT_EQ(copy({page.ref, 0, 8, local()}, CopyDirection::to_guest), CopyStatus::failed);
  EXPECT_EQ(page.address[0], std::byte{'a'});
}

TEST_F(GrantTableContract, CopiesAPageThatIsAlsoMapped) {
  const auto page = grant_pages(1, Access::read_write)[0];
  const auto mapping = map({page.ref}, Access::read_write).value();
  EXPECT_EQ(copy({page.ref, 0, 8, local()}, CopyDirection::from_guest), CopyStatus::okay);
  EXPECT_EQ(local()[0], mapping.address()[0]);
}

TEST_F(GrantTableContract, AnswersACopyOfNothing) {
  table_->copy(world_->peer(), {}, CopyDirection::to_guest);
}

}  // namespace
}  // namespace xenblk::contract
