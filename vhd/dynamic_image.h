// A dynamic VHD: blocks are in the file once they were written. Owns the file. Threads and
// guarantees as image.h says; a request whose blocks are allocated and full takes no lock and reads
// no metadata.
#pragma once

#include <memory>

#include "vhd/bitmap_cache.h"
#include "vhd/block_jobs.h"
#include "vhd/block_map.h"
#include "vhd/flush_group.h"
#include "vhd/slot_allocator.h"
#include "vhd/vhd_layout.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Sizes that tests make small.
struct VhdTuning {
  // The file grows by this much, and its footer moves once for it.
  std::uint64_t extent_bytes = 64U << 20;
  // Bitmaps of 16 GiB of partial blocks, in blocks of 2 MiB. Only images of other programs have
  // any.
  std::uint64_t bitmap_budget_bytes = 4U << 20;
};

// Where new blocks may go: found out when an image is opened for writing.
struct WritableEnd {
  ByteRange free;  // a hole that ends at the footer, or nothing
  std::uint64_t footer_offset = 0;
  FooterBytes footer = {};
};

class DynamicImage final : public Image {
 public:
  // `end` when the file is open for writing.
  DynamicImage(std::unique_ptr<File> file, const VhdLayout& layout,
               const std::optional<WritableEnd>& end, std::uint32_t physical_sector_bytes,
               const VhdTuning& tuning);
  const ImageInfo& info() const override { return info_; }
  void submit(ImageRequest& request) noexcept override;
  Expected<ImageExtent> extent_at(SectorIndex first) override;
  Expected<void> finish() override;

 private:
  // The next sectors of a request that lie in one block.
  struct Part {
    BlockIndex block;
    SectorIndex sector;  // within the block
    SectorCount count;
  };
  enum class Planned : std::uint8_t { more, wait };
  enum class Caller : std::uint8_t { submit, engine };

  void advance(ImageRequest& request, Caller caller) noexcept;
  Planned plan_next(ImageRequest& request) noexcept;
  Planned plan_partial(ImageRequest& request, const Part& part) noexcept;
  Planned submit_piece(ImageRequest& request, const Part& part) noexcept;
  Planned want_block(ImageRequest& request, const Part& part, BlockNeed need) noexcept;
  static void read_zeroes(ImageRequest& request, SectorCount count) noexcept;
  Part next_part(const ImageRequest& request) const;
  static void piece_done(IoOp& op) noexcept;
  static void resume(ImageRequest& request, IoStatus status) noexcept;
  static DynamicImage& of(ImageRequest& request);
  std::uint64_t unallocated_blocks_from(BlockIndex block) const;
  Expected<BitmapRun> read_bitmap_run(const Part& part) const;

  std::unique_ptr<File> file_;
  const ImageInfo info_;
  const BlockShape shape_;
  BlockMap map_;
  BitmapCache bitmaps_;
  BlockJobs jobs_;
  FlushGroup flushes_;
  std::optional<Batmap> batmap_;  // of an image that is open for writing
};

}  // namespace xenblk::vhd
