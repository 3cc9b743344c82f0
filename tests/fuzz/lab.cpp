#include "tests/fuzz/lab.h"

#include <algorithm>
#include <utility>

#include "tests/fuzz/repaired.h"
#include "tests/vhd/memory_store.h"
#include "vhd/format/saved_metadata.h"
#include "vhd/operations/compare.h"
#include "vhd/operations/relink.h"
#include "vhd/operations/repair.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/snapshot.h"
#include "vhd/read_vhd.h"

namespace xenblk::fuzz {
namespace {

constexpr vhd::VhdTuning kTuning{.extent_bytes = 64 * 1024, .bitmap_budget_bytes = 2048};

// Smaller blocks are read and not written.
constexpr std::uint32_t kSectorsMin = 8;
constexpr std::uint64_t kBlocksMax = 1U << 16;

// Now and then the file fails after so many changes.
std::optional<unsigned> choose_failure(Reader& reader) {
  const auto dice = reader.u8();
  if (dice < 128) return std::nullopt;
  return dice - 128U;
}

template <class Operation>
void run(IoEngine& engine, Operation& operation, bool (*poll)(IoEngine&)) {
  operation.start();
  while (!operation.is_finished() && poll(engine)) {
  }
  FUZZ_EXPECT(operation.is_finished());
}

bool poll_shuffled(IoEngine& engine) {
  return static_cast<ShuffledEngine&>(engine).poll();
}

vhd::ParentLink link_to(unsigned level, const vhd::Uuid& uuid) {
  const auto name = name_of_level(level);
  return {uuid, vhd::VhdTime{7}, {name, "/images/" + name}};
}

}  // namespace

Lab::Lab(Files files, const Built& built, const std::optional<KnownSectors>& known)
    : files_(std::move(files)),
      sound_(known.has_value() && !built.refused),
      map_(known ? std::optional<std::uint64_t>(0) : std::nullopt),
      places_{built.capacity_sectors - 1, built.capacity_sectors / 2, built.block_sectors},
      block_sectors_(built.block_sectors) {
  if (known) map_.know(*known);
  if (sound_) FUZZ_EXPECT_OK(open(Access::read_only));
  readable_ = read_all();
}

void Lab::step(Reader& reader) {
  const auto kind = reader.u8();
  switch (kind % 8) {
    case 0:
      check();
      break;
    case 1:
      repair(reader);
      break;
    case 2:
      resize(reader);
      break;
    case 3:
      copy(reader);
      break;
    case 4:
      snapshot(reader);
      break;
    case 5:
      coalesce(reader);
      break;
    case 6:
      relink(reader);
      break;
    default:
      if (kind == 0xff) return recover_from_anything(reader);
      write(reader);
      break;
  }
  renew();
  const bool before = std::exchange(readable_, read_all());
  if (before) FUZZ_EXPECT(readable_);
}

Expected<std::unique_ptr<Image>> Lab::open(Access access) {
  return open_chain(files_, access, kTuning);
}

bool Lab::read_all() {
  renew();
  const auto image = open(Access::read_only);
  if (!image) return false;
  ShuffledEngine engine(1, 0);
  Session(**image, map_, engine).read_all(places_);
  return true;
}

std::optional<vhd::ParentReference> Lab::reference() {
  auto file = last_file(Access::read_only);
  const auto contents = vhd::read_vhd(file);
  if (!contents || !contents->layout || !contents->layout->is_differencing()) return std::nullopt;
  return vhd::parent_reference(*contents->layout);
}

std::optional<unsigned> Lab::parent_number() {
  const auto wanted = reference();
  if (!wanted) return std::nullopt;
  const auto found = find_parent(files_, last_number(), *wanted);
  return found ? std::optional(found->number) : std::nullopt;
}

std::uint64_t Lab::capacity() {
  const auto image = open(Access::read_only);
  return image ? (*image)->info().capacity.n : 0;
}

bool Lab::is_used_up() const {
  return std::ranges::any_of(files_, [](const MemoryContent& file) {
    return file.transferred > file.transfer_max || file.pages.size() >= MemoryContent::kPagesMax;
  });
}

// No failure is left, and what one input may do is limited for each step.
void Lab::renew() {
  for (auto& file : files_) {
    file.transferred = 0;
    file.transfer_max = kTransferMax;
    file.changes_left.reset();
  }
}

void Lab::check() {
  auto file = last_file(Access::read_only);
  const auto report = vhd::check_image(
      file, {.find_parent = [&](const vhd::VhdLayout& layout) -> Expected<vhd::Uuid> {
        const auto found = find_parent(files_, last_number(), vhd::parent_reference(layout));
        if (!found) return std::unexpected(found.error());
        return found->level->facts().uuid.value_or(vhd::Uuid{});
      }});
  if (!report) return FUZZ_EXPECT(is_used_up());
  for (const auto& finding : report->findings) FUZZ_EXPECT(!finding.text.empty());
  if (sound_) FUZZ_EXPECT(!report->has_errors());
  renew();
  if (!report->has_errors()) FUZZ_EXPECT_OK(open_alone(files_));
}

// The good blocks stay where they are and as they are; a second repair finds nothing to do.
void Lab::repair(Reader& reader) {
  const GoodBlocks good(last());
  auto interrupted = last();
  const auto failure = choose_failure(reader);
  test::MemoryStore backup;
  {
    auto file = last_file(Access::read_write);
    const auto repaired = vhd::repair_image(file, backup);
    if (!repaired) return FUZZ_EXPECT(!repaired.error().text.empty());
  }
  renew();
  expect_repaired(last());
  good.expect_in(last());
  if (!failure) return;
  interrupted.changes_left = failure;
  test::MemoryStore backups[2];
  MemoryFile file(interrupted, Access::read_write);
  const auto first = vhd::repair_image(file, backups[0]);
  interrupted.changes_left.reset();
  if (!first) FUZZ_EXPECT(vhd::repair_image(file, backups[1]));
  expect_repaired(interrupted);
  good.expect_in(interrupted);
}

void Lab::recover(vhd::MetadataStore& journal) {
  renew();
  auto file = last_file(Access::read_write);
  FUZZ_EXPECT(vhd::recover_resize(file, journal));
}

// A journal may be of another image, or damaged: then nothing is known of this one any more.
void Lab::recover_from_anything(Reader& reader) {
  if (last().size_bytes < 1024 || last().size_bytes % kSectorBytes != 0) return;
  vhd::SavedMetadata saved{
      parent_number() ? uuid_of_level(last_number()) : uuid_of_level(0), last().size_bytes, {}};
  saved.ranges.push_back({0, std::vector<std::byte>(512)});
  saved.ranges.push_back({last().size_bytes - 512, std::vector<std::byte>(512)});
  test::MemoryStore journal;
  journal.saved = vhd::encode(saved);
  auto& bytes = *journal.saved;
  const auto patched = std::as_bytes(reader.bytes(reader.u8() % 16));
  const auto at = reader.below(bytes.size());
  std::ranges::copy(patched.first(std::min(patched.size(), bytes.size() - at)), &bytes[at]);
  if (const auto cut = reader.u8(); cut % 4 == 3) bytes.erase(bytes.end() - cut, bytes.end());
  auto file = last_file(reader.u8() % 8 == 7 ? Access::read_only : Access::read_write);
  const auto recovered = vhd::recover_resize(file, journal);
  if (!recovered) FUZZ_EXPECT(!recovered.error().text.empty());
  given_up_ = true;
}

void Lab::resize(Reader& reader) {
  const auto before = capacity();
  const auto change = reader.u16();
  const auto near = before + change % 4096U * (change % 2 == 0 ? 1U : block_sectors_);
  const auto target = change >= 0x8000 ? near : before - std::min(before, near - before);
  // The last image may be one that had larger children.
  auto reading = last_file(Access::read_only);
  const auto contents = vhd::read_vhd(reading);
  const bool has_blocks = contents && contents->layout;
  if (has_blocks && target / contents->layout->shape.block_sectors() > kBlocksMax) return;
  last().changes_left = choose_failure(reader);
  test::MemoryStore journal;
  auto file = last_file(Access::read_write);
  const auto resized = vhd::resize_image(file, {target}, journal);
  if (!resized) recover(journal);
  renew();
  if (!readable_) return;
  if (resized && reference()) map_.forget_from(std::min(before, target));
  FUZZ_EXPECT(capacity() == (resized ? target : before));
}

bool Lab::run_copy(Reader& reader, Image& source, Image& target, vhd::TargetContent content) {
  const auto dice = reader.u8();
  ShuffledEngine engine(dice, dice % 4 == 3 ? dice / 8 : 0);
  vhd::Copy copy(source, target, engine,
                 {.target_content = content,
                  .chunk = {std::uint64_t{8} << dice % 5},
                  .requests = 1 + dice % 3U,
                  .source_name = "source",
                  .target_name = "target"});
  if (dice == 0xfe) copy.stop();
  run(engine, copy, poll_shuffled);
  return copy.result().has_value();
}

void Lab::expect_alike(Image& one, Image& other) {
  ShuffledEngine engine(2, 0);
  vhd::Compare compare(one, other, engine,
                       {.chunk = {64}, .requests = 2, .names = {"one", "other"}});
  run(engine, compare, poll_shuffled);
  FUZZ_EXPECT(!compare.result() || !*compare.result());
}

// The new image may take the place of all.
void Lab::copy(Reader& reader) {
  const auto kind = reader.u8();
  auto made = copy_all(reader, kind);
  if (!made || (kind & 0x10) == 0) return;
  files_ = std::move(*made);
  block_sectors_ = std::uint64_t{kSectorsMin} << kind % 8;
}

std::optional<Files> Lab::copy_all(Reader& reader, unsigned kind) {
  const auto source = open(Access::read_only);
  if (!source) return std::nullopt;
  Files target_files(1);
  MemoryFile file(target_files.front(), Access::read_write);
  const auto block_bytes = (kSectorsMin << kind % 8) * kSectorBytes;
  const auto type = kind >= 0xe0 ? vhd::DiskType::fixed : vhd::DiskType::dynamic;
  const auto sectors = (*source)->info().capacity;
  if (sectors.n * kSectorBytes / block_bytes > kBlocksMax) return std::nullopt;
  const auto created = vhd::create_vhd(file, {.capacity = sectors,
                                              .type = type,
                                              .block_bytes = block_bytes,
                                              .uuid = uuid_of_level(0),
                                              .created = vhd::VhdTime{1}});
  FUZZ_EXPECT(created);
  target_files.front().transfer_max = 2 * kTransferMax;
  auto target = open_chain(target_files, Access::read_write, kTuning);
  FUZZ_EXPECT(target);
  const auto content =
      (kind & 0x08) != 0 ? vhd::TargetContent::unknown : vhd::TargetContent::zeroes;
  if (!run_copy(reader, **source, **target, content)) return std::nullopt;
  renew();
  target_files.front().transferred = 0;
  expect_alike(**source, **target);
  FUZZ_EXPECT((*target)->finish());
  target->reset();
  return target_files;
}

// A child without anything of its own shows what its parent shows.
void Lab::snapshot(Reader& reader) {
  constexpr std::size_t kLevelsMax = 6;
  const auto kind = reader.u8();
  if (files_.size() >= kLevelsMax) return;
  auto parent = last_file(Access::read_only);
  const auto facts = vhd::read_parent_facts(parent, vhd::Format::vhd);
  if (!facts) return FUZZ_EXPECT(!facts.error().text.empty());
  if (!readable_) return;
  const auto block_bytes =
      kind % 2 == 0 ? facts->block_bytes : (kSectorsMin << kind / 2 % 8) * kSectorBytes;
  if (facts->capacity.n * kSectorBytes / block_bytes > kBlocksMax) return;
  const auto level = last_number();
  MemoryContent content;
  MemoryFile file(content, Access::read_write);
  const auto created = vhd::create_vhd(file, {.capacity = facts->capacity,
                                              .type = vhd::DiskType::differencing,
                                              .block_bytes = block_bytes,
                                              .parent = link_to(level, facts->uuid),
                                              .uuid = uuid_of_level(level + 1),
                                              .created = vhd::VhdTime{1}});
  if (!created) return FUZZ_EXPECT(!created.error().text.empty());
  files_.push_back(std::move(content));
  block_sectors_ = block_bytes / kSectorBytes;
}

bool Lab::grow_parent(Files& parents, std::uint64_t wanted) {
  const auto image = open_chain(parents, Access::read_only, kTuning);
  if (!image || (*image)->info().capacity.n > wanted) return false;
  if ((*image)->info().capacity.n == wanted) return true;
  if (parents.size() > 1) return false;  // its own parent may be larger, and show
  test::MemoryStore journal;
  MemoryFile file(parents.back(), Access::read_write);
  return vhd::resize_image(file, {wanted}, journal).has_value();
}

void Lab::coalesce(Reader& reader) {
  const auto below = reference();
  if (!readable_ || !below || below->is_raw()) return;
  if (parent_number() != last_number() - 1) return;
  auto child = open_alone(files_);
  if (!child) return;
  Files parents(files_.begin(), files_.end() - 1);
  if (!grow_parent(parents, (*child)->info().capacity.n)) return;
  auto parent = open_chain(parents, Access::read_write, kTuning);
  if (!parent) return;
  const bool merged = run_copy(reader, **child, **parent, vhd::TargetContent::parent);
  child->reset();
  if (!(*parent)->finish()) return;
  parent->reset();
  auto& leaf = files_.back();
  if (!merged) parents.push_back(std::move(leaf));
  files_ = std::move(parents);
}

// To the parent that it has, by other means.
void Lab::relink(Reader& reader) {
  const auto old = reference();
  const auto link = link_to(parent_number().value_or(0), old ? old->uuid : vhd::Uuid{});
  last().changes_left = choose_failure(reader);
  test::MemoryStore journal;
  auto file = last_file(Access::read_write);
  const auto relinked = vhd::relink_child(file, link, journal);
  if (!relinked) recover(journal);
}

void Lab::write(Reader& reader) {
  const auto dice = reader.u8();
  last().changes_left = choose_failure(reader);
  auto image = open(Access::read_write);
  last().changes_left.reset();
  if (!image) return;
  ShuffledEngine engine(dice, dice % 4 == 3 ? dice / 8 : 0);
  Reader part(reader.bytes(reader.u8() % 64));
  Session(**image, map_, engine).run(part, block_sectors_);
  if (dice % 8 < 6) static_cast<void>((*image)->finish());
}

}  // namespace xenblk::fuzz
