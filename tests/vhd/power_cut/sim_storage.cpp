#include "tests/vhd/power_cut/sim_storage.h"

#include <cassert>
#include <cerrno>
#include <utility>

namespace xenblk::power_cut {
namespace {

constexpr unsigned kAll = 8;

std::size_t number_of(const File& file) {
  return static_cast<const SimFile&>(file).number();
}

void apply(SimContent& content, const SimChange& change) {
  switch (change.kind) {
    case ChangeKind::write:
      return content.write(change.offset, change.content());
    case ChangeKind::punch:
      return content.punch(change.offset, change.bytes);
    case ChangeKind::resize:
      return content.resize(change.offset);
    case ChangeKind::replace:
      content.resize(0);
      return content.write(0, change.content());
  }
}

}  // namespace

// --- crashes ---

SimContents& SimStorage::kill() {
  assert(crashed_ == nullptr);
  crashed_ = &now_;
  for (auto& content : now_) content.mark();
  for (const auto* op : in_flight_) {
    const auto change = change_of(*op);
    apply_part(now_[change.file], change, static_cast<unsigned>(random(kAll + 1)));
  }
  return now_;
}

// Each sector of a write is there or not, each page of a punched range. A file's size is written on
// its own: it is what it was at some moment since the sync, and cuts off what lies behind it.
SimContents& SimStorage::power_cut(Remains remains) {
  assert(crashed_ == nullptr);
  crashed_ = &durable_;
  std::vector<SimChange> in_flight;
  const auto changes = open_changes(in_flight);
  const auto chosen = changes.empty() ? 0 : random(changes.size());
  std::vector<std::uint64_t> sizes;
  for (auto& content : durable_) {
    content.mark();
    sizes.push_back(content.size_bytes());
  }
  std::vector<std::uint64_t> size_known(durable_.size());
  for (auto& known : size_known) {
    known = remains == Remains::nothing ? 0
            : remains == Remains::any   ? random(changes.size() + 1)
                                        : changes.size();
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const auto& change = *changes[i];
    auto& content = durable_[change.file];
    const bool size_is_known = i < size_known[change.file];
    if (size_is_known && change.kind != ChangeKind::replace) {
      sizes[change.file] = change.kind == ChangeKind::resize
                               ? change.offset
                               : std::max(sizes[change.file], change.size_after);
    }
    const auto part = remains == Remains::nothing       ? 0
                      : remains == Remains::everything  ? kAll
                      : remains == Remains::all_but_one ? (i == chosen ? 0 : kAll)
                      : remains == Remains::one_alone   ? (i == chosen ? kAll : 0)
                                                        : random(kAll + 1);
    if (change.kind == ChangeKind::resize) {
      if (size_is_known) apply(content, change);
    } else if (change.kind == ChangeKind::replace) {
      if (part < kAll / 2) continue;
      apply(content, change);
      sizes[change.file] = content.size_bytes();
    } else {
      apply_part(content, change, static_cast<unsigned>(part));
    }
  }
  for (std::size_t file = 0; file < sizes.size(); ++file) durable_[file].resize(sizes[file]);
  return durable_;
}

void SimStorage::crash_over() {
  assert(crashed_ != nullptr);
  for (auto& content : *crashed_) content.back_to_mark();
  crashed_ = nullptr;
}

// What completed, in its order, and behind it what is under way.
std::vector<const SimChange*> SimStorage::open_changes(std::vector<SimChange>& in_flight) const {
  std::vector<const SimChange*> changes;
  for (const auto& change : unsynced_) changes.push_back(&change);
  in_flight.reserve(in_flight_.size());
  for (const auto* op : in_flight_) changes.push_back(&in_flight.emplace_back(change_of(*op)));
  return changes;
}

void SimStorage::apply_part(SimContent& content, const SimChange& change, unsigned keep_of_eight) {
  if (keep_of_eight == 0) return;
  if (keep_of_eight >= kAll) return apply(content, change);
  const std::uint64_t unit = change.kind == ChangeKind::punch ? kPageBytes : kSectorBytes;
  for (std::uint64_t done = 0; done < change.bytes; done += unit) {
    if (random(kAll) >= keep_of_eight) continue;
    const auto part = std::min(unit, change.bytes - done);
    if (change.kind == ChangeKind::punch) {
      content.punch(change.offset + done, part);
    } else {
      content.write(change.offset + done, change.content().subspan(done, part));
    }
  }
}

// --- changes ---

SimChange SimStorage::change_of(const IoOp& op) const {
  SimChange change{op.kind == IoKind::write ? ChangeKind::write : ChangeKind::punch,
                   number_of(*op.file), op.offset, op.bytes};
  if (op.kind == IoKind::write) {
    change.data.assign(op.buffer, op.buffer + op.bytes);
    change.size_after = op.offset + op.bytes;
  }
  return change;
}

void SimStorage::change(SimChange change) {
  assert(crashed_ == nullptr);
  auto& content = now_[change.file];
  assert(!is_device || change.offset + change.bytes <= content.size_bytes());
  apply(content, change);
  change.size_after = content.size_bytes();
  change.number = ++changes_;
  unsynced_.push_back(std::move(change));
  if (on_change) on_change();
}

// A write that failed has written some of itself.
void SimStorage::change_in_part(const SimChange& whole) {
  const auto keep = random(kAll + 1);
  for (std::uint64_t done = 0; done < whole.bytes; done += kSectorBytes) {
    if (random(kAll) >= keep) continue;
    const auto sector = whole.content().subspan(done, kSectorBytes);
    change({ChangeKind::write, whole.file, whole.offset + done, kSectorBytes,
            std::vector(sector.begin(), sector.end())});
  }
}

// Makes durable what completed before the sync began.
void SimStorage::sync(std::size_t file, std::uint64_t before) {
  if (skips_sync && skips_sync(file, unsynced_)) return;
  std::erase_if(unsynced_, [&](SimChange& change) {
    if (change.file != file || change.number > before) return false;
    if (outlives_sync && outlives_sync(change)) return false;
    apply(durable_[file], change);
    return true;
  });
  if (on_change) on_change();
}

// --- SimFile ---

Expected<void> SimFile::read_at(std::uint64_t offset, std::span<std::byte> buffer) {
  const auto size = content().size_bytes();
  if (buffer.size() > size || offset > size - buffer.size()) {
    return fail(Errc::bad_image, "the file ends early");
  }
  content().read(offset, buffer);
  return {};
}

Expected<void> SimFile::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  assert(access_ == Access::read_write);
  storage_.change(
      {ChangeKind::write, number_, offset, data.size(), std::vector(data.begin(), data.end())});
  return {};
}

Expected<void> SimFile::sync_data() {
  storage_.sync(number_, storage_.changes_);
  return {};
}

void SimFile::replace(std::span<const std::byte> content) {
  storage_.change(
      {ChangeKind::replace, number_, 0, 0, std::vector(content.begin(), content.end())});
}

Expected<void> SimFile::truncate(std::uint64_t bytes) {
  assert(access_ == Access::read_write);
  storage_.change({ChangeKind::resize, number_, bytes});
  return {};
}

Expected<void> SimFile::punch_hole(std::uint64_t offset, std::uint64_t bytes) {
  assert(access_ == Access::read_write);
  storage_.change({ChangeKind::punch, number_, offset, bytes});
  return {};
}

// --- SimEngine ---

void SimEngine::submit(IoOp& op) noexcept {
  assert(op.done != nullptr);
  assert(op.kind == IoKind::sync_data ||
         (op.offset % kSectorBytes == 0 && op.bytes % kSectorBytes == 0));
  assert(op.buffer == nullptr || reinterpret_cast<std::uintptr_t>(op.buffer) % kSectorBytes == 0);
  assert(op.kind == IoKind::read || op.file->access() == Access::read_write);
  queue_.push_back({&op, storage_.changes_});
  if (op.kind == IoKind::write || op.kind == IoKind::punch_hole) storage_.in_flight_.push_back(&op);
}

bool SimEngine::poll() {
  const bool any = run_tasks();
  if (queue_.empty()) return any;
  const auto i = storage_.random(queue_.size());
  const auto queued = queue_[i];
  queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
  std::erase(storage_.in_flight_, queued.op);
  queued.op->result = perform(queued);
  queued.op->done(*queued.op);
  return true;
}

void SimEngine::finish_unheard() {
  for (const auto& queued : queue_) queued.op->done = [](IoOp&) noexcept {};
  while (!queue_.empty()) poll();
}

std::int64_t SimEngine::perform(const Queued& queued) {
  auto& op = *queued.op;
  if (const int error = storage_.fault ? storage_.fault(op) : 0; error != 0) return fail(op, error);
  switch (op.kind) {
    case IoKind::read:
      return read(op);
    case IoKind::write:
      if (storage_.now_[number_of(*op.file)].data_pages() + op.bytes / kPageBytes + 1 >
          storage_.room_pages) {
        return fail(op, ENOSPC);
      }
      storage_.change(storage_.change_of(op));
      return static_cast<std::int64_t>(op.bytes);
    case IoKind::punch_hole:
      storage_.change(storage_.change_of(op));
      return 0;
    case IoKind::sync_data:
      storage_.sync(number_of(*op.file), queued.changes_before);
      return 0;
  }
  return -EINVAL;
}

// Of any simulated file: the parents of an image may lie on storages of their own.
std::int64_t SimEngine::read(const IoOp& op) {
  const auto size = op.file->size_bytes().value();
  if (op.offset >= size) return 0;
  const auto bytes = std::min(op.bytes, size - op.offset);
  const auto ok = op.file->read_at(op.offset, {op.buffer, bytes});
  assert(ok);
  return static_cast<std::int64_t>(bytes);
}

std::int64_t SimEngine::fail(const IoOp& op, int error) {
  if (op.kind == IoKind::write) storage_.change_in_part(storage_.change_of(op));
  return -error;
}

}  // namespace xenblk::power_cut
