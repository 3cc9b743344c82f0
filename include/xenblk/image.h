// The image seam: a virtual disk's content, whatever its format.
// Implemented by vhd/ (null, raw, VHD); used by ringio/ (queues) and by tools.
#pragma once

#include <array>
#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <string>

#include "xenblk/io.h"
#include "xenblk/units.h"

namespace xenblk {

enum class ImageOp : std::uint8_t { read, write, flush, discard, write_zeroes };

enum class IoStatus : std::uint8_t {
  okay,
  io_error,
  no_space,
  read_only,     // a write to an image that was opened read-only
  out_of_range,  // beyond the end of the disk
  unsupported,   // the image cannot do this operation
};

class Image;

// One request to an image. The caller owns it and keeps it and its data buffer alive until `done`.
// What the image needs while it works on the request is embedded here, so nothing is allocated.
struct ImageRequest : boost::intrusive::list_base_hook<> {
  ImageOp op = ImageOp::read;
  SectorIndex first;           // not for flush
  SectorCount count;           // not for flush
  std::byte* data = nullptr;   // read, write: count * 512 bytes, contiguous, aligned to 512 bytes
  IoEngine* engine = nullptr;  // of the thread that submits; `done` runs on that thread
  IoStatus status = IoStatus::okay;
  void (*done)(ImageRequest&) noexcept = nullptr;

  // --- for the image only, between submit and done ---
  // A request may cover many pieces of a file; this many are in flight at once.
  static constexpr std::size_t kOps = 4;
  struct Piece : IoOp {
    ImageRequest* request = nullptr;
    std::uint64_t tag = 0;  // the image's own: which block, which step
  };
  std::array<Piece, kOps> pieces;
  std::uint64_t sectors_planned = 0;  // from `first`: pieces up to here have been submitted
  std::uint32_t in_flight = 0;        // pieces submitted and not yet done
  std::uint64_t scratch[6] = {};      // the image's own
  // For an image that hands the request on to two others, one after the other.
  struct Outer {
    Image* image = nullptr;
    void (*done)(ImageRequest&) noexcept = nullptr;
    bool second_too = false;
  } outer;
  Task task;  // to come back to the engine's thread from another one
};
using ImageRequestList =
    boost::intrusive::list<ImageRequest, boost::intrusive::constant_time_size<false>>;

struct ImageInfo {
  std::string format;  // "raw", "null", "vhd fixed", "vhd dynamic", ...
  SectorCount capacity;
  std::uint32_t physical_sector_bytes = kSectorBytes;
  Access access = Access::read_only;
  bool discard = false;  // ImageOp::discard does something
  // What is written lies in the host's page cache until it is flushed, as direct I/O was not
  // possible.
  bool cached = false;
};

// A run of sectors that are stored alike.
struct ImageExtent {
  enum class Kind : std::uint8_t {
    data,  // stored; may happen to be zeroes
    zero,  // reads as zeroes, and is known to without reading it
  };
  Kind kind = Kind::data;
  SectorCount count;
  // Data: where it is stored, 0 for the image itself, 1 for its parent, and so on. Zero: where that
  // is known; of sectors that were never written anywhere, the last level.
  unsigned level = 0;
  friend bool operator==(const ImageExtent&, const ImageExtent&) = default;
};

// Shared by all queues of a disk and all disks that name the same file. submit() may be called by
// several threads at once, each with its own engine. Takes no lock and does no metadata access for
// a request whose blocks are allocated.
//
// Guarantees: a write that was answered okay survives the death of this process; every write that
// was answered before a flush was submitted survives a power cut once that flush is answered okay.
// A read of sectors that were never written gives zeroes; a failed read leaves the buffer
// unspecified.
class Image {
 public:
  virtual ~Image() = default;  // no request may be in flight

  virtual const ImageInfo& info() const = 0;

  // The size of the disk now; info() has that of the moment at which the image was opened. Any
  // thread.
  virtual SectorCount capacity() const { return info().capacity; }

  // Looks at the size of what holds the image and grows the disk to it. Blocks; off the data path;
  // requests may be in flight. Returns the capacity. Errors: unsupported_image (the size of such an
  // image stands in itself), refused (it has become smaller; the disk is as large as it was), io.
  virtual Expected<SectorCount> reread_capacity() {
    return fail(Errc::unsupported_image, "an image of this kind does not grow by itself");
  }

  // Makes what holds the image larger, and the disk with it. As reread_capacity() otherwise.
  // Errors: unsupported_image (it cannot while it is in use), refused (smaller than the disk is, or
  // not a file that can be made larger), permission, no_space, io.
  virtual Expected<SectorCount> grow([[maybe_unused]] SectorCount capacity) {
    return fail(Errc::unsupported_image,
                "an image of this kind cannot be resized while it is open");
  }

  // Starts the request; request.engine's thread only. `done` is called exactly once, on that
  // thread, never inside submit. The range was checked by the caller; an image checks again and
  // answers out_of_range.
  virtual void submit(ImageRequest& request) noexcept = 0;

  // The run that begins at `first`, which is below the capacity: at least one sector, not more than
  // the disk has. Neighbouring runs may be alike. For tools: blocks on the file. Any thread; with
  // writes in flight the answer may be out of date when it arrives.
  virtual Expected<ImageExtent> extent_at(SectorIndex first) = 0;

  // Blocks until all that was written is on stable storage and the file is as small and clean as
  // the format allows; no request may be in flight. Called once, before destruction, off the data
  // path.
  virtual Expected<void> finish() = 0;
};

}  // namespace xenblk
