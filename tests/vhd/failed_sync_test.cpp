// A sync that fails. Through the page cache the kernel tells of lost pages once, to whoever syncs
// first, and takes them for clean then: what was answered is lost, and a flush has to say so.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/sim_image.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

constexpr std::uint64_t kBlockSectors = 32;

class FailedSync : public ::testing::Test {
 protected:
  void make(bool cached) {
    sim_.disk.is_cached = cached;
    sim_.make_vhd({.capacity = {640}, .block_bytes = kBlockSectors * kSectorBytes});
  }
  test::BlockingDisk guest() { return {*sim_.image, sim_.engine}; }
  void fail_next_sync() {
    sim_.disk.fault = [failed = false](const IoOp& op) mutable {
      if (op.kind != IoKind::sync_data || failed) return 0;
      failed = true;
      return EIO;
    };
  }
  // The first block of an image moves its footer, and syncs it.
  void fail_a_write() {
    fail_next_sync();
    EXPECT_EQ(guest().write(0, bytes_of(1, 1)), IoStatus::io_error);
  }

  test::SimImage sim_{1};
};

TEST_F(FailedSync, IsToldToTheFlushThatAskedForIt) {
  make(true);
  EXPECT_EQ(guest().write(0, bytes_of(1, 1)), IoStatus::okay);
  fail_next_sync();
  EXPECT_EQ(guest().flush(), IoStatus::io_error);
  EXPECT_EQ(guest().flush(), IoStatus::okay);
}

TEST_F(FailedSync, OfTheImageItselfIsToldToTheNextFlush) {
  make(true);
  fail_a_write();
  EXPECT_EQ(guest().write(0, bytes_of(1, 1)), IoStatus::okay);
  EXPECT_EQ(guest().flush(), IoStatus::io_error);
  EXPECT_EQ(guest().flush(), IoStatus::okay);
}

// Which syncs the data of a write before its bitmap says that the data is there.
TEST_F(FailedSync, OfADifferencingImageIsToldToTheNextFlush) {
  test::ChainBuilder parents(1);
  parents.add_dynamic(640, kBlockSectors * kSectorBytes, 3);
  sim_.disk.is_cached = true;
  test::SimFile file(sim_.disk, Access::read_write);
  test::make_child(file, {.capacity = {640}});
  sim_.image = open_vhd_image(std::make_unique<test::SimFile>(sim_.disk, Access::read_write), 512,
                              {}, [&](const ParentReference&) { return parents.levels(); })
                   .value();
  EXPECT_EQ(guest().write(0, bytes_of(1, 1)), IoStatus::okay);
  fail_next_sync();
  EXPECT_EQ(guest().write(1, bytes_of(1, 1)), IoStatus::io_error);
  EXPECT_EQ(guest().write(1, bytes_of(1, 1)), IoStatus::okay);
  EXPECT_EQ(guest().flush(), IoStatus::io_error);
  EXPECT_EQ(guest().flush(), IoStatus::okay);
}

TEST_F(FailedSync, CanBeRepeatedWithDirectIo) {
  make(false);
  fail_a_write();
  EXPECT_EQ(guest().write(0, bytes_of(1, 1)), IoStatus::okay);
  EXPECT_EQ(guest().flush(), IoStatus::okay);
}

}  // namespace
}  // namespace xenblk::vhd
