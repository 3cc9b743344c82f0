#include "vhd/buffer_set.h"

#include <sys/mman.h>

#include <new>

#include "vhd/format/bytes.h"

namespace xenblk::vhd {

// Straight from the kernel: memory of the allocator would have to be zeroed, and so be touched.
BufferSet::BufferSet(std::size_t count, std::uint64_t bytes)
    : count_(count), bytes_(bytes), stride_(round_up(bytes, kSectorBytes)) {
  assert(count > 0 && bytes > 0);
  auto* const mapped =
      ::mmap(nullptr, total_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  // A guest's data does not get into a core file.
  (void)::madvise(mapped, total_bytes(), MADV_DONTDUMP);
  memory_ = static_cast<std::byte*>(mapped);
}

BufferSet::~BufferSet() {
  ::munmap(memory_, total_bytes());
}

}  // namespace xenblk::vhd
