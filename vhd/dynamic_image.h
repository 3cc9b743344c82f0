// A dynamic or differencing VHD: blocks are in the file once they were written; what is not, lies
// in the parents, or is zeroes. Owns the file and shares the parents. Threads and guarantees as
// image.h says; a request whose blocks are allocated and full, here or all in one parent, takes no
// lock and reads no metadata.
#pragma once

#include <memory>
#include <optional>

#include "vhd/bitmap_commit.h"
#include "vhd/block_jobs.h"
#include "vhd/block_level.h"
#include "vhd/block_part.h"
#include "vhd/chain/chain.h"
#include "vhd/flush_group.h"
#include "vhd/grace_periods.h"
#include "vhd/slot_allocator.h"
#include "vhd/slot_reclaim.h"
#include "vhd/vhd_layout.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Sizes that tests make small.
struct VhdTuning {
  // The file grows by this much at least, by 64 times as much at most, and its footer moves once
  // for it.
  std::uint64_t extent_bytes = 64U << 20;
  // Bitmaps of 16 GiB of partial blocks, in blocks of 2 MiB.
  std::uint64_t bitmap_budget_bytes = 4U << 20;
};

// Where new blocks may go: found out when an image is opened for writing.
struct WritableEnd {
  ByteRange free;  // ends at the footer; a hole, unless it is on a device
  std::uint64_t footer_offset = 0;
  FooterBytes footer = {};
  bool on_device = false;
};

class DynamicImage final : public Image {
 public:
  struct Parts {
    std::unique_ptr<File> file;
    VhdLayout layout;
    std::optional<WritableEnd> end;  // when the file is open for writing
    Levels parents;
    std::uint32_t physical_sector_bytes = kSectorBytes;
    VhdTuning tuning;
  };
  explicit DynamicImage(Parts parts);
  const ImageInfo& info() const override { return info_; }
  void submit(ImageRequest& request) noexcept override;
  Expected<ImageExtent> extent_at(SectorIndex first) override;
  Expected<void> finish() override;
  // The nearest first; none of an image that is not differencing.
  const Levels& parents() const { return chain_.levels(); }

 private:
  enum class Planned : std::uint8_t { more, wait };
  enum class Caller : std::uint8_t { submit, engine };
  using OpDone = void (*)(IoOp&) noexcept;
  // One operation on a file for the request's next sectors: its read or write, or a hole.
  struct Transfer {
    File* file = nullptr;
    std::uint64_t offset = 0;
    SectorCount count;
  };

  void advance(ImageRequest& request, Caller caller) noexcept;
  void finish_request(ImageRequest& request, Caller caller) noexcept;
  BlockPart part_of(const ImageRequest& request) const;
  BlockWork work_on(BlockNeed need, const BlockPart& part);
  Transfer transfer_to(const BlockRun& run, const BlockPart& part) const;

  Planned plan_next(ImageRequest& request) noexcept;
  Planned plan_read(ImageRequest& request, const BlockPart& part) noexcept;
  Planned plan_read_below(ImageRequest& request, SectorCount count) noexcept;
  Planned plan_write(ImageRequest& request, const BlockPart& part) noexcept;
  Planned plan_zero(ImageRequest& request, const BlockPart& part) noexcept;
  Planned plan_zero_below(ImageRequest& request, const BlockPart& part,
                          const BlockRun& run) noexcept;
  static Planned skip(ImageRequest& request, SectorCount count) noexcept;
  Planned start_commit(ImageRequest& request, const Transfer& transfer) noexcept;
  Planned submit_piece(ImageRequest& request, const Transfer& transfer) noexcept;
  Planned want(ImageRequest& request, const BlockWork& work) noexcept;
  static void read_zeroes(ImageRequest& request, SectorCount count) noexcept;

  static void prepare(ImageRequest::Piece& piece, ImageRequest& request, const Transfer& transfer,
                      OpDone done) noexcept;
  template <OpDone done>
  static void hole_made(IoOp& op) noexcept;
  template <OpDone done>
  static void zeroes_written(IoOp& op) noexcept;
  static void piece_done(IoOp& op) noexcept;
  static void commit_piece_done(IoOp& op) noexcept;
  static void committed(ImageRequest& request, IoStatus status) noexcept;
  static void resume(ImageRequest& request, IoStatus status) noexcept;
  static void reclaim(ImageRequest& request, std::uint32_t entry) noexcept;
  static void reclaimed(ImageRequest& request, IoStatus status) noexcept;
  static DynamicImage& of(ImageRequest& request);
  std::uint64_t unallocated_blocks_from(BlockIndex block) const;
  Expected<ImageExtent> extent_below(SectorIndex first, SectorCount count);

  std::unique_ptr<File> file_;
  const ImageInfo info_;
  BlockLevel leaf_;
  Chain chain_;
  GracePeriods inside_;  // of an image that is open for writing
  FlushGroup flushes_;
  std::optional<Batmap> batmap_;  // of an image that is open for writing
  BlockJobs jobs_;
  BitmapCommit commits_;
  SlotReclaim reclaims_;
};

}  // namespace xenblk::vhd
