#include "tests/vhd/power_cut/sabotage.h"

#include <algorithm>
#include <cstring>

#include "tests/vhd/power_cut/scenario.h"
#include "tests/vhd/power_cut/sector_model.h"
#include "vhd/format/block_table.h"
#include "vhd/format/dynamic_header.h"

namespace xenblk::power_cut {
namespace {

// A guest's sectors hold small numbers; bitmaps, tables and footers do not.
bool is_data(const SimChange& change) {
  if (change.kind != ChangeKind::write || change.data.size() < kSectorBytes) return false;
  const auto value = value_of(change.content().first<kSectorBytes>());
  return value && *value != 0 && *value < SectorValue{1} << 62;
}

bool is_footer(const SimChange& change) {
  return change.kind == ChangeKind::write && change.offset != 0 &&
         change.data.size() == kSectorBytes && std::memcmp(change.data.data(), "conectix", 8) == 0;
}

bool is_table(const SimChange& change, const SimContents& contents) {
  if (change.kind != ChangeKind::write || change.file >= kImages) return false;
  vhd::DynamicHeaderBytes bytes;
  contents[change.file].read(vhd::kFooterBytes, bytes);
  const auto header = vhd::parse_dynamic_header(bytes);
  if (!header || change.offset < header->table_offset) return false;
  return change.offset - header->table_offset < std::uint64_t{header->entries_max} * 4;
}

}  // namespace

void sabotage(SimStorage& storage, Sabotage how) {
  switch (how) {
    case Sabotage::none:
      return;
    case Sabotage::syncs_do_nothing:
      storage.skips_sync = [](std::size_t, const auto&) { return true; };
      return;
    case Sabotage::syncs_are_skipped:
      storage.skips_sync = [&storage](std::size_t, const auto&) { return storage.random(4) == 0; };
      return;
    case Sabotage::data_is_late:
      storage.outlives_sync = [](SimChange& change) {
        return is_data(change) && change.syncs_outlived++ == 0;
      };
      return;
    case Sabotage::table_is_late:
      storage.outlives_sync = [&storage](SimChange& change) {
        return is_table(change, storage.contents()) && change.syncs_outlived++ == 0;
      };
      return;
    case Sabotage::footer_is_not_synced:
      storage.skips_sync = [](std::size_t, const auto& unsynced) {
        return std::ranges::any_of(unsynced, is_footer);
      };
      return;
    case Sabotage::journal_is_not_synced:
      storage.skips_sync = [](std::size_t file, const auto&) { return file >= kImages; };
      return;
  }
}

}  // namespace xenblk::power_cut
