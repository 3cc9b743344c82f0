// What a repair must leave alone, and what it must have done.
#pragma once

#include <vector>

#include "tests/fuzz/memory_file.h"

namespace xenblk::fuzz {

// The blocks of an image that are where they can be: their places, and the beginning of what they
// hold. None of an image whose layout nobody knows.
class GoodBlocks {
 public:
  explicit GoodBlocks(MemoryContent& content);
  void expect_in(MemoryContent& content) const;

 private:
  struct Block {
    std::uint64_t number = 0;
    std::uint32_t entry = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<Block> blocks_;
};

// No error is left but one about a parent, and a second repair finds nothing to do.
void expect_repaired(MemoryContent& content);

}  // namespace xenblk::fuzz
