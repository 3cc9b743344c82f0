#include "ringio/counters.h"

namespace xenblk::ringio {

std::string_view describe(Trouble trouble) {
  switch (trouble) {
    case Trouble::unknown_operation:
      return "unknown operation";
    case Trouble::not_offered:
      return "operation that was not offered";
    case Trouble::segment_count:
      return "impossible number of segments";
    case Trouble::indirect_operation:
      return "indirect request that is neither a read nor a write";
    case Trouble::segment_sectors:
      return "segment outside its page";
    case Trouble::misaligned:
      return "request not aligned to the sector size";
    case Trouble::out_of_range:
      return "request beyond the end of the disk";
    case Trouble::read_only_disk:
      return "change of a read-only disk";
    case Trouble::grant_copy_failed:
      return "grant reference that cannot be used";
    case Trouble::image_failed:
      return "image failed";
    case Trouble::ring_overrun:
      return "ring overrun, the ring is stopped";
    case Trouble::disk_stopped:
      return "request to a disk that is stopped";
  }
  return "unknown trouble";
}

}  // namespace xenblk::ringio
