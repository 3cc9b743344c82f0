#include "vhd/bitmap_commit.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "vhd/block_part.h"

namespace xenblk::vhd {
namespace {

// Blocks in a batch. What is beyond waits for the next one.
constexpr std::size_t kBlocksMax = 64;
constexpr std::size_t kBlocksMin = 4;
constexpr std::size_t kBuffersBytes = std::size_t{1} << 20;

BlockPart part_of(const ImageRequest& request, const BlockLevel& leaf) {
  return next_part(request, {leaf.shape.block_sectors()});
}

}  // namespace

BitmapCommit::BitmapCommit(const BitmapCommitContext& context, Then then)
    : context_(context),
      then_(then),
      bitmaps_(
          std::clamp(kBuffersBytes / context.leaf.shape.bitmap_bytes(), kBlocksMin, kBlocksMax)),
      tables_(bitmaps_.size()),
      bitmap_buffers_(bitmaps_.size(), context.leaf.shape.bitmap_bytes()),
      table_buffers_(tables_.size(), kSectorBytes) {
  for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
    bitmaps_[i].owner = tables_[i].owner = this;
    bitmaps_[i].content = bitmap_buffers_[i];
    tables_[i].content = table_buffers_[i];
  }
}

BitmapCommit::~BitmapCommit() {
  assert(!running_ && waiting_.empty());
}

void BitmapCommit::join(ImageRequest& request) noexcept {
  assert(request.in_flight == 0);
  scratch(request, Scratch::waits_for) = reinterpret_cast<std::uintptr_t>(this);
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(running_, true)) return waiting_.push_back(request.task);
  }
  begin(request);
}

BitmapCommit& BitmapCommit::of(ImageRequest& request) {
  return scratch_object<BitmapCommit>(request, Scratch::waits_for);
}

// On the leader's thread, as all that follows.
void BitmapCommit::begin(ImageRequest& leader) {
  assert(batch_.empty() && parts_in_flight_ == 0);
  leader_ = &leader;
  bitmaps_used_ = tables_used_ = 0;
  writing_ = false;
  gather();
  parts_in_flight_ = 1;
  read_bitmaps();
  // Its own data was written before it came here, as was that of all others.
  context_.syncs.sync(
      leader, [](ImageRequest& request, IoStatus status) noexcept { of(request).synced(status); });
}

void BitmapCommit::gather() {
  admit(part_of(*leader_, context_.leaf).block);
  const std::lock_guard lock(mutex_);
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    auto& task = *it;
    if (!admit(part_of(request_of(task), context_.leaf).block)) {
      ++it;
      continue;
    }
    it = waiting_.erase(it);
    batch_.push_back(task);
  }
}

bool BitmapCommit::admit(BlockIndex block) {
  const auto used = std::span(bitmaps_).first(bitmaps_used_);
  if (std::ranges::find(used, block, &BitmapChange::block) != used.end()) return true;
  if (bitmaps_used_ == bitmaps_.size()) return false;
  auto& change = bitmaps_[bitmaps_used_++];
  change.block = block;
  change.status = IoStatus::okay;
  return true;
}

BitmapCommit::BitmapChange& BitmapCommit::change_of(BlockIndex block) {
  const auto used = std::span(bitmaps_).first(bitmaps_used_);
  const auto it = std::ranges::find(used, block, &BitmapChange::block);
  assert(it != used.end());
  return *it;
}

// Only batches change bitmaps and make a fresh block one that is in the table, so what is read here
// stays true until it is written.
void BitmapCommit::read_bitmaps() {
  auto& leaf = context_.leaf;
  for (auto& change : std::span(bitmaps_).first(bitmaps_used_)) {
    // A full one may even be gone again: its requests were in flight when it was given up. One that
    // is given up later keeps its place until they are answered, so it is written there.
    change.entry = leaf.map.entry(change.block);
    const auto state = leaf.map.state(change.block);
    change.fresh = state == BlockState::fresh;
    change.full = state == BlockState::full || change.entry == kUnusedBlock;
    if (change.full || leaf.bitmaps.copy(change.block, change.content)) continue;
    ++parts_in_flight_;
    submit<&BitmapCommit::bitmap_read>(change, IoKind::read, leaf.shape.range(change.entry).start);
  }
}

template <BitmapCommit::ChangeDone done>
void BitmapCommit::submit(Change& change, IoKind kind, std::uint64_t offset) {
  change.kind = kind;
  change.file = &context_.leaf.file;
  change.offset = offset;
  change.buffer = change.content.data();
  change.bytes = change.content.size();
  change.done = [](IoOp& op) noexcept {
    auto& finished = static_cast<Change&>(op);
    finished.status = status_from_result(op.result);
    (finished.owner->*done)(finished);
  };
  leader_->engine->submit(change);
}

// A file that ends within its last block has no sector there.
void BitmapCommit::bitmap_read(Change& change) {
  if (change.status == IoStatus::okay) zero_what_was_not_read(change);
  part_done();
}

void BitmapCommit::synced(IoStatus status) {
  sync_status_ = status;
  part_done();
}

void BitmapCommit::part_done() {
  assert(parts_in_flight_ > 0);
  if (--parts_in_flight_ > 0) return;
  if (writing_) return conclude();
  if (sync_status_ == IoStatus::okay) return write();
  fail_all(sync_status_);
}

void BitmapCommit::write() {
  writing_ = true;
  set_bits();
  // One more, so that nothing concludes before all are submitted.
  parts_in_flight_ = 1;
  const auto& leaf = context_.leaf;
  for (auto& change : std::span(bitmaps_).first(bitmaps_used_)) {
    if (change.full || change.status != IoStatus::okay) continue;
    if (change.fresh) add_to_table(change);
    ++parts_in_flight_;
    submit<&BitmapCommit::change_written>(change, IoKind::write,
                                          leaf.shape.range(change.entry).start);
  }
  for (auto& change : std::span(tables_).first(tables_used_)) {
    ++parts_in_flight_;
    submit<&BitmapCommit::change_written>(change, IoKind::write,
                                          context_.table_offset + change.sector * kSectorBytes);
  }
  part_done();
}

void BitmapCommit::set_bits() {
  set_bits_of(*leader_);
  for (auto& task : batch_) set_bits_of(request_of(task));
}

void BitmapCommit::set_bits_of(const ImageRequest& request) {
  const auto part = part_of(request, context_.leaf);
  set_bitmap_run(change_of(part.block).content, part.sector.n, part.count.n);
}

void BitmapCommit::add_to_table(const BitmapChange& change) {
  const auto sector = change.block.n / kEntriesPerSector;
  const auto used = std::span(tables_).first(tables_used_);
  const auto it = std::ranges::find(used, sector, &TableChange::sector);
  auto& table = it != used.end() ? *it : tables_[tables_used_++];
  const auto bytes = table.content.first<kSectorBytes>();
  if (it == used.end()) {
    table.sector = sector;
    table.status = IoStatus::okay;
    context_.leaf.map.write_table_sector(sector, bytes);
  }
  store_big_endian(bytes, change.block.n % kEntriesPerSector * sizeof(std::uint32_t), change.entry);
}

void BitmapCommit::change_written(Change&) {
  part_done();
}

// A request that fails here may have happened: its data is on stable storage. What the memory says
// is what the file said before, and a new attempt writes both again.
void BitmapCommit::conclude() {
  for (auto& change : std::span(bitmaps_).first(bitmaps_used_)) {
    if (change.full) continue;
    const bool written = change.status == IoStatus::okay;
    const bool told = in_table(change);
    if (written) context_.jobs.bitmap_written({change.block, change.entry}, change.content, told);
    if (written && told) continue;
    context_.jobs.metadata_write_failed();
    if (written) change.status = IoStatus::io_error;
  }
  answer_all();
}

bool BitmapCommit::in_table(const BitmapChange& change) const {
  if (!change.fresh) return true;
  const auto used = std::span(tables_).first(tables_used_);
  const auto it = std::ranges::find(used, change.block.n / kEntriesPerSector, &TableChange::sector);
  return it != used.end() && it->status == IoStatus::okay;
}

void BitmapCommit::fail_all(IoStatus status) {
  for (auto& change : std::span(bitmaps_).first(bitmaps_used_)) change.status = status;
  answer_all();
}

// The leader last: while it waits, its engine and this object stay.
void BitmapCommit::answer_all() {
  auto& leader = *leader_;
  const auto leader_status = change_of(part_of(leader, context_.leaf).block).status;
  while (!batch_.empty()) {
    auto& request = request_of(batch_.front());
    batch_.pop_front();
    post_then(request, then_, change_of(part_of(request, context_.leaf).block).status);
  }
  next();
  then_(leader, leader_status);
}

void BitmapCommit::next() {
  const std::lock_guard lock(mutex_);
  running_ = !waiting_.empty();
  if (!running_) return;
  auto& leader = request_of(waiting_.front());
  waiting_.pop_front();
  leader.task.run = [](Task& task) noexcept { of(request_of(task)).begin(request_of(task)); };
  leader.engine->post(leader.task);
}

}  // namespace xenblk::vhd
