#include "vhd/create.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <ctime>
#include <vector>

#include <fmt/format.h>

#include "vhd/format/block_table.h"
#include "vhd/format/dynamic_header.h"
#include "vhd/new_file.h"

namespace xenblk::vhd {
namespace {

constexpr std::uint32_t kCreatorVersion = 0x00010000;
constexpr std::uint32_t kHostWindows = 0x5769326b;  // "Wi2k": readers know no other
constexpr std::uint64_t kFixedBytesMax = std::uint64_t{1} << 62;
constexpr std::uint64_t kHeaderEnd = kFooterBytes + kDynamicHeaderBytes;

Expected<void> check_size(SectorCount capacity, std::uint64_t bytes_max) {
  if (capacity.n == 0) return fail(Errc::bad_spec, "a disk of no size");
  if (capacity.n <= bytes_max / kSectorBytes) return {};
  return fail(Errc::bad_spec,
              fmt::format("a disk of {} sectors is larger than {} bytes", capacity.n, bytes_max));
}

Expected<void> check(const CreateOptions& options) {
  assert((options.type == DiskType::differencing) == options.parent.has_value());
  if (options.type == DiskType::fixed) return check_size(options.capacity, kFixedBytesMax);
  const auto block = options.block_bytes;
  if (!std::has_single_bit(block) || block < 4096 || block > (256U << 20)) {
    return fail(Errc::bad_spec,
                fmt::format("block size {} is not a power of two from 4 KiB to 256 MiB", block));
  }
  return check_dynamic_size(options.capacity, block);
}

Footer footer_for(const CreateOptions& options, const Uuid& uuid) {
  Footer footer;
  footer.type = options.type;
  footer.data_offset = options.type == DiskType::fixed ? kNoOffset : kFooterBytes;
  footer.created =
      options.created.value_or(vhd_time(static_cast<std::uint64_t>(std::time(nullptr))));
  std::ranges::copy(kCreator, footer.creator.begin());
  footer.creator_version = kCreatorVersion;
  footer.creator_host = kHostWindows;
  footer.original_bytes = footer.current_bytes = options.capacity.n * kSectorBytes;
  footer.geometry = geometry_for(options.capacity);
  footer.uuid = uuid;
  return footer;
}

Expected<void> write_unused_table(File& file, ByteRange table) {
  const std::vector<std::byte> unused(std::min<std::uint64_t>(table.bytes, 1U << 20),
                                      std::byte{0xff});
  for (std::uint64_t done = 0; done < table.bytes;) {
    const auto part = std::min<std::uint64_t>(unused.size(), table.bytes - done);
    auto ok = file.write_at(table.start + done, std::span(unused).first(part));
    if (!ok) return ok;
    done += part;
  }
  return {};
}

Expected<void> write_fixed(File& file, const Footer& footer) {
  return file.write_at(footer.current_bytes, write_footer(footer));
}

// Between the header and the table, so that the table has nothing but blocks behind it. Gives where
// they end.
Expected<std::uint64_t> write_locators(File& file, const ParentLink& parent,
                                       DynamicHeader& header) {
  const auto encoded = encode_parent(parent.place);
  if (!encoded) return std::unexpected(encoded.error());
  header.parent_uuid = parent.uuid;
  header.parent_changed = parent.changed;
  header.parent_name = encoded->name;
  auto end = kHeaderEnd;
  for (const auto& data : encoded->locators) {
    const auto locator = locator_for(data, end);
    std::vector<std::byte> space(locator.data_space);
    std::ranges::copy(data.bytes, space.begin());
    if (auto ok = file.write_at(end, space); !ok) return std::unexpected(ok.error());
    header.locators[data.slot] = locator;
    end += space.size();
  }
  return end;
}

Expected<void> write_dynamic(File& file, const Footer& footer, const CreateOptions& options) {
  DynamicHeader header;
  header.table_offset = kHeaderEnd;
  header.block_bytes = options.block_bytes;
  header.entries_max =
      static_cast<std::uint32_t>(divide_up(footer.current_bytes, options.block_bytes));
  if (options.parent) {
    const auto end = write_locators(file, *options.parent, header);
    if (!end) return std::unexpected(end.error());
    header.table_offset = *end;
  }
  const ByteRange table{header.table_offset,
                        round_up(std::uint64_t{header.entries_max} * 4, kSectorBytes)};
  const auto bytes = write_footer(footer);
  if (auto ok = file.write_at(kFooterBytes, write_dynamic_header(header)); !ok) return ok;
  if (auto ok = write_unused_table(file, table); !ok) return ok;
  if (auto ok = file.write_at(table.end(), bytes); !ok) return ok;
  return file.write_at(0, bytes);
}

}  // namespace

Expected<Uuid> random_uuid() {
  Uuid uuid;
  if (::getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) {
    return fail_os(errno, "no random numbers");
  }
  uuid[6] = (uuid[6] & std::byte{0x0f}) | std::byte{0x40};
  uuid[8] = (uuid[8] & std::byte{0x3f}) | std::byte{0x80};
  return uuid;
}

Geometry geometry_for(SectorCount capacity) {
  const auto geometry = geometry_of(capacity);
  return sectors_of(geometry) == capacity ? geometry : kGeometryMax;
}

Expected<void> check_dynamic_size(SectorCount capacity, std::uint32_t block_bytes) {
  if (auto ok = check_size(capacity, kDynamicBytesMax); !ok) return ok;
  if (divide_up(capacity.n, block_bytes / kSectorBytes) <= kServedBlocksMax) return {};
  return fail(Errc::bad_spec,
              fmt::format("a disk of {} sectors has more than {} blocks of {} bytes", capacity.n,
                          kServedBlocksMax, block_bytes));
}

Expected<void> create_vhd(File& file, const CreateOptions& options) {
  if (auto ok = check(options); !ok) return ok;
  const auto uuid = options.uuid ? Expected<Uuid>(*options.uuid) : random_uuid();
  if (!uuid) return std::unexpected(uuid.error());
  const auto footer = footer_for(options, *uuid);
  auto written = options.type == DiskType::fixed ? write_fixed(file, footer)
                                                 : write_dynamic(file, footer, options);
  return written ? file.sync_data() : written;
}

Expected<void> create_vhd_file(const std::string& path, const CreateOptions& options) {
  return make_new_file(path, [&](File& file) { return create_vhd(file, options); });
}

}  // namespace xenblk::vhd
