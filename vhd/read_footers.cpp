#include "vhd/read_footers.h"

#include <fmt/format.h>

#include "vhd/format/block_table.h"

namespace xenblk::vhd {
namespace {

// Virtual PC before 2004 wrote a footer without its last byte.
constexpr std::uint64_t kShortFooterBytes = kFooterBytes - 1;
constexpr std::uint32_t kNewestTapVersion = 0x00010003;

struct Candidate {
  FooterBytes bytes = {};
  Expected<Footer> footer = fail(Errc::bad_image, "missing");
  bool valid() const { return footer.has_value(); }
};

Expected<Candidate> read_candidate(File& file, ByteRange place, ChecksumRule checksums) {
  Candidate candidate;
  if (auto ok = file.read_at(place.start, std::span(candidate.bytes).first(place.bytes)); !ok) {
    return std::unexpected(ok.error());
  }
  candidate.footer = parse_footer(candidate.bytes, checksums);
  return candidate;
}

bool has_blocks(const Footer& footer) {
  return footer.type == DiskType::dynamic || footer.type == DiskType::differencing;
}

// The data of a fixed image ends where its footer begins; a file or device may be larger.
bool is_fixed_disk(const Footer& footer, std::uint64_t end_offset) {
  return footer.type == DiskType::fixed && footer.current_bytes <= end_offset;
}

// `end` is not valid. A copy that is may be a guest's: only images with blocks have one.
std::unexpected<Error> no_footer(const Candidate& copy, const Candidate& end,
                                 std::uint64_t end_offset) {
  const auto& why = end.footer.error();
  if (copy.valid()) {
    return fail(why.code,
                fmt::format("no valid VHD footer: at {:#x} the {}; at 0x0 one of disk "
                            "type {}, which has no copy there",
                            end_offset, why.text, static_cast<std::uint32_t>(copy.footer->type)));
  }
  return fail(why.code, fmt::format("no valid VHD footer: at {:#x} the {}; at 0x0 the {}",
                                    end_offset, why.text, copy.footer.error().text));
}

// Sector 0 belongs to the guest in a fixed image and to the format in a dynamic one, the last
// sector the other way round when a block has grown over it: with both readings possible neither is
// safe.
Expected<Footers> choose_copy(Footers footers, const Candidate& copy, const Candidate& end) {
  if (end.valid() && is_fixed_disk(*end.footer, footers.end_offset)) {
    return fail(
        Errc::bad_image,
        fmt::format(
            "ambiguous: the footer at {:#x} is of a fixed disk, the one at 0x0 of a dynamic "
            "disk",
            footers.end_offset));
  }
  footers.chosen = *copy.footer;
  footers.bytes = copy.bytes;
  footers.copy_valid = true;
  if (!end.valid()) {
    footers.warnings.push_back(
        {"footer_end_bad", fmt::format("footer at {:#x}: {}; using the copy at 0x0",
                                       footers.end_offset, end.footer.error().text)});
  } else if (same_identity(*end.footer, *copy.footer)) {
    footers.at_end = *end.footer;
    footers.at_end_bytes = end.bytes;
  } else {
    footers.other_image_at_end = true;
    footers.warnings.push_back(
        {"footer_other_image",
         fmt::format("footer at {:#x} is of another image; ignored", footers.end_offset)});
  }
  return footers;
}

Expected<Footers> choose_end(Footers footers, const Candidate& copy, const Candidate& end) {
  const auto& footer = *end.footer;
  footers.chosen = footer;
  footers.bytes = end.bytes;
  footers.at_end = footer;
  footers.at_end_bytes = end.bytes;
  if (has_blocks(footer)) {
    const auto why = copy.valid() ? "of a fixed disk" : copy.footer.error().text;
    footers.warnings.push_back({"footer_copy_bad", "footer at 0x0: " + why});
    return footers;
  }
  if (footer.type != DiskType::fixed) return footers;
  if (is_fixed_disk(footer, footers.end_offset)) {
    if (footer.current_bytes != footers.end_offset) {
      footers.warnings.push_back(
          {"file_longer",
           fmt::format(
               "footer at {:#x}: a fixed disk of {} bytes, but the file has {} bytes before "
               "it; the rest is not used",
               footers.end_offset, footer.current_bytes, footers.end_offset)});
    }
    return footers;
  }
  return fail(
      Errc::bad_image,
      fmt::format("footer at {:#x}: a fixed disk of {} bytes, but the file has {} bytes before it",
                  footers.end_offset, footer.current_bytes, footers.end_offset));
}

Expected<void> check_type(const Footer& footer) {
  switch (footer.type) {
    case DiskType::fixed:
    case DiskType::dynamic:
    case DiskType::differencing:
      return {};
  }
  return fail(Errc::bad_image, fmt::format("footer: disk type is {}, not 2, 3 or 4",
                                           static_cast<std::uint32_t>(footer.type)));
}

Expected<void> check_poison(const Candidate& candidate, std::uint64_t offset) {
  if (candidate.valid() || candidate.footer.error().code != Errc::unsupported_image) return {};
  return fail(Errc::unsupported_image,
              fmt::format("footer at {:#x}: {}", offset, candidate.footer.error().text));
}

// What does no harm, but may mean something to somebody.
void add_remarks(Footers& footers) {
  const auto& footer = footers.chosen;
  const auto remark = [&](std::string_view code, const std::string& text) {
    footers.warnings.push_back({code, "footer: " + text});
  };
  if (footer.saved_state) {
    remark("saved_state",
           "saved state is 1: a virtual machine was suspended; its size must not change");
  }
  if (footer.creator_name() == std::string_view("tap\0", 4) &&
      footer.creator_version > kNewestTapVersion) {
    remark("tap_version",
           fmt::format("made by blktap {}.{}, newer than 1.3", footer.creator_version >> 16,
                       footer.creator_version & 0xffff));
  }
  if (footer.uuid == Uuid{}) remark("uuid_null", "the unique id is 0");
}

}  // namespace

Expected<Footers> read_footers(File& file, ChecksumRule checksums) {
  const auto size = file.size_bytes();
  if (!size) return std::unexpected(size.error());
  const auto length = *size % kFooterBytes == kShortFooterBytes ? kShortFooterBytes : kFooterBytes;
  if (*size < kFooterBytes + length) {
    return fail(Errc::bad_image, fmt::format("the file has {} bytes, too few for a VHD", *size));
  }
  Footers footers{.file_bytes = *size, .end_offset = *size - length, .checksums = checksums};
  const auto end = read_candidate(file, {footers.end_offset, length}, checksums);
  if (!end) return std::unexpected(end.error());
  const auto copy = read_candidate(file, {0, kFooterBytes}, checksums);
  if (!copy) return std::unexpected(copy.error());
  if (auto ok = check_poison(*copy, 0); !ok) return std::unexpected(ok.error());
  if (auto ok = check_poison(*end, footers.end_offset); !ok) return std::unexpected(ok.error());
  const bool from_copy = copy->valid() && has_blocks(*copy->footer);
  if (!from_copy && !end->valid()) return no_footer(*copy, *end, footers.end_offset);
  auto chosen = from_copy ? choose_copy(std::move(footers), *copy, *end)
                          : choose_end(std::move(footers), *copy, *end);
  if (!chosen) return chosen;
  if (auto ok = check_type(chosen->chosen); !ok) return std::unexpected(ok.error());
  add_remarks(*chosen);
  return chosen;
}

}  // namespace xenblk::vhd
