#include "tests/platform/tiny_backend.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>

namespace xenblk::loopback {
namespace {

template <class T>
T get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

std::atomic_ref<std::uint32_t> word(std::byte* address) {
  return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(address));
}

}  // namespace

TinyBackend::TinyBackend(Xen& xen, Disk disk, SectorCount capacity)
    : disk_(std::move(disk)),
      store_(xen.open_store().value()),
      channels_(xen.open_event_channels().value()),
      table_(xen.open_grant_table().value()),
      content_(capacity.n * kSectorBytes) {
  put("max-ring-page-order", "4");
  put("multi-queue-max-queues", "8");
  put("feature-max-indirect-segments", "256");
  put("feature-persistent", "1");
  put("state", "2");
}

NodeValue TinyBackend::own(std::string_view name) {
  return read_node(*store_, fmt::format("{}/{}", backend_path(disk_), name));
}

void TinyBackend::put(std::string_view name, std::string_view value) {
  store_->write(fmt::format("{}/{}", backend_path(disk_), name), value).value();
}

std::uint32_t TinyBackend::frontend_number(const std::string& path) {
  return static_cast<std::uint32_t>(std::stoul(store_->read(path).value()));
}

void TinyBackend::step() {
  const auto state = read_node(*store_, frontend_path(disk_.guest, disk_.device) + "/state");
  follow(state.value_or("6"));
  for (Queue& queue : queues_) serve(queue);
}

void TinyBackend::follow(const std::string& frontend_state) {
  const auto state = own("state");
  if (!state || fault_ == BackendFault::never_connects) return;
  if (frontend_state == "3" && state == "2") connect();
  if (frontend_state == "1" && state == "6") put("state", "2");
  if (frontend_state == "5" && state == "4") put("state", "5");
  if (frontend_state == "6" && state != "6" && state != "2") {
    disconnect();
    put("state", "6");
  }
}

void TinyBackend::connect() {
  const std::string front = frontend_path(disk_.guest, disk_.device);
  const auto protocol = store_->read(front + "/protocol").value_or("x86_64-abi");
  layout_ = protocol == blkif::kProtocolX86_32 ? blkif::Layout::x86_32 : blkif::Layout::x86_64;
  const auto count = store_->read(front + "/multi-queue-num-queues");
  if (!count) connect_queue(front);
  for (int i = 0; count && i < std::stoi(*count); ++i) {
    connect_queue(fmt::format("{}/queue-{}", front, i));
  }
  publish_properties();
}

void TinyBackend::connect_queue(const std::string& directory) {
  std::vector<GrantRef> refs;
  if (store_->read(directory + "/ring-ref")) refs = {{frontend_number(directory + "/ring-ref")}};
  while (store_->read(fmt::format("{}/ring-ref{}", directory, refs.size()))) {
    refs.push_back({frontend_number(fmt::format("{}/ring-ref{}", directory, refs.size()))});
  }
  const auto pages = static_cast<std::uint32_t>(refs.size());
  queues_.push_back(
      {.ring = table_->map(disk_.guest, refs, Access::read_write).value(),
       .port =
           channels_->bind(disk_.guest, {frontend_number(directory + "/event-channel")}).value(),
       .entries = blkif::ring_entries(layout_, pages)});
}

void TinyBackend::publish_properties() {
  put("sectors", fmt::to_string(content_.size() / kSectorBytes));
  put("info", "0");
  if (fault_ != BackendFault::forgets_sector_size) put("sector-size", "512");
  put("feature-flush-cache", "1");
  put("state", "4");
}

void TinyBackend::disconnect() {
  for (const Queue& queue : queues_) channels_->unbind(queue.port);
  queues_.clear();
  kept_.clear();
}

void TinyBackend::serve(Queue& queue) {
  using Ring = blkif::RingOffsets;
  std::byte* const ring = queue.ring.address();
  if (fault_ == BackendFault::answers_nothing) return;
  while (word(ring + Ring::req_prod).load() != queue.consumed) {
    const auto& at = blkif::offsets(layout_);
    serve_one(ring + Ring::slots + (queue.consumed & (queue.entries - 1)) * at.slot);
    ++queue.consumed;
    const bool twice = fault_ == BackendFault::answers_twice;
    word(ring + Ring::rsp_prod).store(queue.consumed + (twice ? 1 : 0));
    word(ring + Ring::req_event).store(queue.consumed + 1);
    channels_->notify(queue.port);
  }
}

void TinyBackend::serve_one(std::byte* slot) {
  const auto& at = blkif::offsets(layout_);
  auto op = get<std::uint8_t>(slot + at.operation);
  const auto id = get<std::uint64_t>(slot + at.id);
  if (op == wire(blkif::Op::indirect)) {
    ++indirect_requests_;
    op = get<std::uint8_t>(slot + at.indirect_op);
    const GrantRef page{get<std::uint32_t>(slot + at.indirect_grefs)};
    const auto mapping = table_->map(disk_.guest, {&page, 1}, Access::read_only).value();
    move(op, get<std::uint64_t>(slot + at.indirect_sector), mapping.address(),
         get<std::uint16_t>(slot + at.indirect_nr_segments));
  } else if (op != wire(blkif::Op::discard)) {
    move(op, get<std::uint64_t>(slot + at.sector_number), slot + at.seg,
         get<std::uint8_t>(slot + at.nr_segments));
  }
  answer(slot, fault_ == BackendFault::answers_with_another_id ? id + 1000 : id, op);
}

void TinyBackend::answer(std::byte* slot, std::uint64_t id, std::uint8_t op) {
  const auto& at = blkif::offsets(layout_);
  const auto status = blkif::Status::okay;
  std::memcpy(slot + at.rsp_id, &id, sizeof(id));
  std::memcpy(slot + at.rsp_operation, &op, sizeof(op));
  std::memcpy(slot + at.rsp_status, &status, sizeof(status));
}

void TinyBackend::move(std::uint8_t op, std::uint64_t sector, const std::byte* segments,
                       std::uint32_t count) {
  using At = blkif::SegmentOffsets;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::byte* const segment = segments + i * At::size;
    const GrantRef ref{get<std::uint32_t>(segment + At::gref)};
    const auto first = get<std::uint8_t>(segment + At::first_sect);
    const auto sectors = get<std::uint8_t>(segment + At::last_sect) - first + 1;
    GrantCopy copy{.ref = ref,
                   .offset = static_cast<std::uint16_t>(first * kSectorBytes),
                   .bytes = static_cast<std::uint16_t>(sectors * static_cast<int>(kSectorBytes)),
                   .local = content_.data() + sector * kSectorBytes};
    const bool reads = op == wire(blkif::Op::read);
    table_->copy(disk_.guest, {&copy, 1},
                 reads ? CopyDirection::to_guest : CopyDirection::from_guest);
    if (fault_ == BackendFault::keeps_pages_mapped) {
      kept_.push_back(table_->map(disk_.guest, {&ref, 1}, Access::read_only).value());
    }
    sector += static_cast<std::uint64_t>(sectors);
  }
}

}  // namespace xenblk::loopback
