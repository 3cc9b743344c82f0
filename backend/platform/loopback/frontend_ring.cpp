#include "backend/platform/loopback/frontend_ring.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {
namespace {

using Ring = blkif::RingOffsets;

std::atomic_ref<std::uint32_t> word(std::byte* address) {
  return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(address));
}

template <class T>
T get(const SlotBytes& slot, std::size_t offset) {
  T value;
  std::memcpy(&value, slot.data() + offset, sizeof(value));
  return value;
}

}  // namespace

FrontendRing::FrontendRing(std::shared_ptr<GuestDomain> guest, DomainId backend,
                           blkif::Layout layout, std::uint32_t pages)
    : guest_(std::move(guest)),
      layout_(layout),
      at_(blkif::offsets(layout)),
      entries_(blkif::ring_entries(layout, pages)),
      memory_(guest_->allocate_pages(pages)),
      written_(entries_) {
  for (std::uint32_t page = 0; page < pages; ++page) {
    const std::byte* const address = memory_.data() + std::size_t{page} * kPageBytes;
    refs_.push_back(guest_->grant(address, backend, Access::read_write));
  }
  // As SHARED_RING_INIT: each end asks for an event with the first message.
  store_index(Ring::req_event, 1);
  store_index(Ring::rsp_event, 1);
}

FrontendRing::~FrontendRing() {
  bool mapped = false;
  for (const GrantRef ref : refs_) mapped |= guest_->revoke(ref) == Revoked::still_mapped;
  if (!mapped) guest_->release_pages(memory_);
}

void FrontendRing::put(const FrontendRequest& request) {
  const auto slot = encode(layout_, request);
  put_bytes({slot.data(), at_.slot});
}

void FrontendRing::put_bytes(std::span<const std::byte> slot) {
  require(room() > 0, "a frontend does not overfill its ring through put; see store_index");
  note_outstanding(slot);
  overwrite(request_producer_, slot);
  ++request_producer_;
}

void FrontendRing::overwrite(std::uint32_t index, std::span<const std::byte> slot) {
  require(slot.size() == at_.slot, "a slot has the size of its layout");
  std::ranges::copy(slot, written_[index & (entries_ - 1)].begin());
  std::byte* const to = slot_at(index);
  for (std::size_t offset = 0; offset < slot.size(); offset += sizeof(std::uint32_t)) {
    std::uint32_t value;
    std::memcpy(&value, slot.data() + offset, sizeof(value));
    word(to + offset).store(value, std::memory_order_relaxed);
  }
}

void FrontendRing::note_outstanding(std::span<const std::byte> slot) {
  Outstanding request;
  std::memcpy(&request.id, slot.data() + at_.id, sizeof(request.id));
  request.op = std::to_integer<std::uint8_t>(slot[at_.operation]);
  // The answer to an indirect request names the operation inside it.
  if (request.op == wire(blkif::Op::indirect)) {
    request.op = std::to_integer<std::uint8_t>(slot[at_.indirect_op]);
  }
  outstanding_.push_back(request);
}

bool FrontendRing::publish() {
  const std::uint32_t before = std::exchange(published_, request_producer_);
  word(memory_.data() + Ring::req_prod).store(published_, std::memory_order_seq_cst);
  const auto event = word(memory_.data() + Ring::req_event).load(std::memory_order_seq_cst);
  return published_ - event < published_ - before;
}

std::optional<RingResponse> FrontendRing::take_response() {
  if (violation_) return std::nullopt;
  const auto producer = word(memory_.data() + Ring::rsp_prod).load(std::memory_order_acquire);
  if (producer == response_consumer_ || !within_bounds(producer)) return std::nullopt;
  const SlotBytes slot = load_slot(response_consumer_);
  const RingResponse response{
      .id = get<std::uint64_t>(slot, at_.rsp_id),
      .op = get<std::uint8_t>(slot, at_.rsp_operation),
      .status = static_cast<blkif::Status>(get<std::int16_t>(slot, at_.rsp_status))};
  check_padding(response_consumer_, slot);
  check_pending(response);
  ++response_consumer_;
  if (violation_) return std::nullopt;
  return response;
}

bool FrontendRing::within_bounds(std::uint32_t producer) {
  const std::uint32_t answered = producer - response_consumer_;
  if (answered <= published_ - response_consumer_) return true;
  violate(fmt::format("rsp_prod is {} beyond the {} requests that were published",
                      answered - (published_ - response_consumer_), published_));
  return false;
}

void FrontendRing::check_padding(std::uint32_t index, const SlotBytes& seen) {
  const auto& expected = written_[index & (entries_ - 1)];
  for (std::size_t i = at_.rsp_operation + 1; i < at_.slot; ++i) {
    const bool is_status = i >= at_.rsp_status && i < at_.rsp_status + sizeof(std::int16_t);
    if (is_status || seen[i] == expected[i]) continue;
    return violate(
        fmt::format("byte {} of response {} is no part of it but was changed", i, index));
  }
}

void FrontendRing::check_pending(const RingResponse& response) {
  const auto by_id = [&](const Outstanding& request) { return request.id == response.id; };
  const auto exactly = [&](const Outstanding& request) {
    return request.id == response.id && request.op == response.op;
  };
  auto found = std::ranges::find_if(outstanding_, exactly);
  if (found != outstanding_.end()) {
    outstanding_.erase(found);
    return;
  }
  found = std::ranges::find_if(outstanding_, by_id);
  if (found == outstanding_.end()) {
    return violate(fmt::format("response has id {}, which is not pending", response.id));
  }
  violate(fmt::format("response to id {} has operation {} instead of {}", response.id, response.op,
                      found->op));
}

bool FrontendRing::arm() {
  word(memory_.data() + Ring::rsp_event).store(response_consumer_ + 1, std::memory_order_seq_cst);
  return word(memory_.data() + Ring::rsp_prod).load(std::memory_order_seq_cst) !=
         response_consumer_;
}

std::uint32_t FrontendRing::load_index(std::size_t offset) const {
  return word(memory_.data() + offset).load(std::memory_order_seq_cst);
}

void FrontendRing::store_index(std::size_t offset, std::uint32_t value) {
  word(memory_.data() + offset).store(value, std::memory_order_seq_cst);
}

std::byte* FrontendRing::slot_at(std::uint32_t index) const {
  return memory_.data() + Ring::slots + std::size_t{index & (entries_ - 1)} * at_.slot;
}

SlotBytes FrontendRing::load_slot(std::uint32_t index) const {
  SlotBytes slot = {};
  const std::byte* const from = slot_at(index);
  for (std::size_t offset = 0; offset < at_.slot; offset += sizeof(std::uint32_t)) {
    const auto value = word(const_cast<std::byte*>(from) + offset).load(std::memory_order_relaxed);
    std::memcpy(slot.data() + offset, &value, sizeof(value));
  }
  return slot;
}

void FrontendRing::violate(std::string rule) {
  if (!violation_) violation_ = std::move(rule);
}

}  // namespace xenblk::loopback
