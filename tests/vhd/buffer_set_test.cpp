#include "vhd/buffer_set.h"

#include <gtest/gtest.h>

#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "tests/memory_flags.h"
#include "vhd/aligned_buffer.h"

namespace xenblk::vhd {
namespace {

bool is_in_memory(const std::byte* page) {
  unsigned char state = 0;
  EXPECT_EQ(::mincore(const_cast<std::byte*>(page), kPageBytes, &state), 0);
  return (state & 1) != 0;
}

TEST(BufferSet, HasZeroesAtPlacesForDirectIo) {
  const BufferSet buffers(3, 700);
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(buffers[i].size(), 700U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffers[i].data()) % kSectorBytes, 0U);
    EXPECT_TRUE(std::ranges::all_of(buffers[i], [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST(BufferSet, StaysOutOfCoreFiles) {
  const BufferSet buffers(3, kPageBytes);
  EXPECT_TRUE(xenblk::test::stays_out_of_core_files(buffers[1].data()));
}

TEST(AlignedBuffer, StaysOutOfCoreFilesWhenItIsLargeEnoughForData) {
  const AlignedBuffer data(256 * 1024);
  EXPECT_TRUE(xenblk::test::stays_out_of_core_files(data.data()));
  const AlignedBuffer metadata(4096);
  EXPECT_FALSE(xenblk::test::stays_out_of_core_files(metadata.data()));
}

TEST(BufferSet, KeepsItsBuffersApart) {
  const BufferSet buffers(2, 512);
  std::ranges::fill(buffers[0], std::byte{1});
  std::ranges::fill(buffers[1], std::byte{2});
  EXPECT_EQ(buffers[0].back(), std::byte{1});
}

TEST(BufferSet, TakesMemoryForWhatIsTouched) {
  const BufferSet buffers(3, kPageBytes);
  buffers[1][0] = std::byte{1};
  EXPECT_FALSE(is_in_memory(buffers[0].data()));
  EXPECT_TRUE(is_in_memory(buffers[1].data()));
  EXPECT_FALSE(is_in_memory(buffers[2].data()));
}

}  // namespace
}  // namespace xenblk::vhd
