#include "vhd/prepare_for_writing.h"

#include <algorithm>

#include <fmt/format.h>

#include "vhd/batmap_file.h"
#include "vhd/create.h"

namespace xenblk::vhd {
namespace {

Expected<void> write_durably(File& file, std::uint64_t offset, const FooterBytes& footer) {
  if (auto ok = file.write_at(offset, footer); !ok) return ok;
  return file.sync_data();
}

// The region below the footer, if it is or can be made a hole. What lies there in an image of
// another program may mean something to it and stays.
Expected<ByteRange> find_free(File& file, const VhdLayout& layout, std::uint64_t footer_offset) {
  const auto start = round_up(layout.end_of_data, kPageBytes);
  if (start >= footer_offset) return ByteRange{};
  const ByteRange region{start, footer_offset - start};
  const auto data = file.next_data(start);
  if (!data) return std::unexpected(data.error());
  if (*data >= footer_offset) return region;
  if (layout.footers.chosen.creator_name() != kCreator) return ByteRange{};
  if (auto ok = file.punch_hole(region.start, region.bytes); !ok)
    return std::unexpected(ok.error());
  if (auto ok = file.sync_data(); !ok) return std::unexpected(ok.error());
  return region;
}

// The footer of a device is at its end, whatever lies before it, and nothing is a hole.
Expected<WritableEnd> prepare_device(File& file, const VhdLayout& layout) {
  const auto& footers = layout.footers;
  if (layout.end_of_data > footers.end_offset) {
    return fail(Errc::bad_image, fmt::format("blocks reach to {:#x}, over the footer at {:#x}",
                                             layout.end_of_data, footers.end_offset));
  }
  WritableEnd end{.footer_offset = footers.end_offset,
                  .footer = layout.footer_at_end_valid ? footers.at_end_bytes : footers.bytes,
                  .on_device = true};
  if (!footers.copy_valid) {
    if (auto ok = write_durably(file, 0, end.footer); !ok) return std::unexpected(ok.error());
  }
  if (!layout.footer_at_end_valid) {
    if (auto ok = write_durably(file, end.footer_offset, end.footer); !ok) {
      return std::unexpected(ok.error());
    }
  }
  const auto start = round_up(layout.end_of_data, kPageBytes);
  if (start < end.footer_offset) end.free = {start, end.footer_offset - start};
  return end;
}

Expected<WritableEnd> prepare_file(File& file, const VhdLayout& layout) {
  auto end = repair_footers(file, layout);
  if (!end) return end;
  const auto free = find_free(file, layout, end->footer_offset);
  if (!free) return std::unexpected(free.error());
  end->free = *free;
  return end;
}

}  // namespace

Expected<WritableEnd> repair_footers(File& file, const VhdLayout& layout) {
  if (file.is_block_device()) {
    return fail(Errc::unsupported_image,
                "an image with blocks on a block device cannot be changed in this way");
  }
  const auto& footers = layout.footers;
  WritableEnd end{.footer = layout.footer_at_end_valid ? footers.at_end_bytes : footers.bytes};
  if (!footers.copy_valid) {
    if (auto ok = write_durably(file, 0, end.footer); !ok) return std::unexpected(ok.error());
  }
  // Where the old one was; or, if a block reaches over that place or the footer was short, behind
  // it.
  end.footer_offset = round_up(std::max(layout.end_of_data, footers.end_offset), kSectorBytes);
  if (!layout.footer_at_end_valid || end.footer_offset + kFooterBytes != footers.file_bytes) {
    if (auto ok = write_durably(file, end.footer_offset, end.footer); !ok) {
      return std::unexpected(ok.error());
    }
  }
  return end;
}

// The batmap goes before the first write.
Expected<WritableEnd> prepare_for_writing(File& file, const VhdLayout& layout) {
  auto end = file.is_block_device() ? prepare_device(file, layout) : prepare_file(file, layout);
  if (!end || !layout.batmap) return end;
  const std::vector<std::byte> nothing(layout.batmap->map.bytes);
  if (auto ok = store_batmap(file, *layout.batmap, nothing); !ok) {
    return std::unexpected(ok.error());
  }
  return end;
}

}  // namespace xenblk::vhd
