#include "tests/sim/system/honest_guest.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace xenblk::sim {

using blkif::Op;
using blkif::Status;
using loopback::FrontendIo;
using loopback::FrontendQueue;

namespace {

constexpr std::uint64_t kLongest = 120;  // sectors of a request, mostly

std::span<std::byte> slot_of(loopback::FrontendRing& ring, std::uint32_t index) {
  const auto bytes = blkif::offsets(ring.layout()).slot;
  const auto at = blkif::RingOffsets::slots + (index & (ring.entries() - 1)) * bytes;
  return ring.memory().subspan(at, bytes);
}

bool changes(Op op) {
  return op == Op::write || op == Op::write_barrier || op == Op::discard;
}

}  // namespace

HonestGuest::HonestGuest(loopback::LoopbackXen& xen, loopback::LoopbackToolstack& toolstack,
                         SimDisk& disk, Dice& dice, const GuestOptions& options)
    : toolstack_(toolstack),
      sim_disk_(disk),
      dice_(dice),
      options_(options),
      toolstack_disk_{.guest = options.id, .params = fmt::format("sim:{}", options.id.n)},
      domain_(xen.create_domain(options.id, 8192)),
      store_(domain_->open_store()) {
  toolstack_.add_disk(toolstack_disk_);
}

void HonestGuest::step(Trace& trace) {
  if (!wrong_.empty()) return;
  if (frontend_ && phase_ >= Phase::work) {
    for (std::size_t i = 0; i < frontend_->queue_count(); ++i) {
      take_answers(frontend_->queue(i), trace);
    }
  }
  switch (phase_) {
    case Phase::begin:
      return begin();
    case Phase::offered:
      return await_offer();
    case Phase::published:
      return await_connected();
    case Phase::work:
      return work();
    case Phase::drain:
      return drain();
    case Phase::closing:
      return go_on_closing();
    case Phase::closed:
      return wait_closed();
    case Phase::ended:
      return;
  }
}

void HonestGuest::begin() {
  loopback::FrontendOptions options;
  options.queues = static_cast<std::uint32_t>(1 + dice_.below(3));
  options.queue.layout = dice_.one_in(2) ? blkif::Layout::x86_32 : blkif::Layout::x86_64;
  options.queue.ring_pages = 1U << dice_.below(3);
  options.queue.depth = static_cast<std::uint32_t>(4 + dice_.below(28));
  options.queue.segments_max = dice_.one_in(2) ? blkif::kMaxSegments : 40;
  options.keys = static_cast<loopback::RingKeys>(dice_.below(3));
  options.grants = dice_.one_in(2) ? loopback::Grants::persistent : loopback::Grants::per_request;
  options.patience.timeout_ms = 0;
  frontend_ = std::make_unique<loopback::SimulatedFrontend>(domain_, options);
  requests_left_ = static_cast<int>(dice_.below(static_cast<std::uint64_t>(options_.requests) * 2));
  phase_ = Phase::offered;
}

void HonestGuest::await_offer() {
  if (const auto offered = frontend_->wait_for_offer(); !offered) {
    if (offered.error().code == Errc::refused) phase_ = Phase::begin;  // asks for less
    const auto state = backend_state();
    if (state == "5" || (state == "6" && is_to_go())) phase_ = Phase::drain;
    return;
  }
  if (const auto published = frontend_->publish_rings(); !published) {
    return fail("cannot publish rings: " + describe(published.error()));
  }
  slots_used_.assign(frontend_->queue_count(), 0);
  phase_ = Phase::published;
}

void HonestGuest::await_connected() {
  if (frontend_->finish_connect()) {
    ++result_.connections;
    phase_ = Phase::work;
    return;
  }
  const auto state = backend_state();
  if (state != "5" && state != "6") return;
  if (!options_.faults_allowed && !is_to_go()) fail("the backend closes instead of connecting");
  phase_ = Phase::drain;
}

void HonestGuest::work() {
  if (requests_left_ <= 0 || backend_state() != "4") {
    phase_ = Phase::drain;
    return;
  }
  auto& queue = frontend_->queue(dice_.below(frontend_->queue_count()));
  for (auto count = 1 + dice_.below(6); count > 0; --count) choose_request(queue);
  queue.kick();
}

void HonestGuest::choose_request(FrontendQueue& queue) {
  FrontendIo* const io = queue.acquire();
  if (io == nullptr) return;
  --requests_left_;
  if (dice_.one_in(30)) return send_nonsense(queue, *io);
  if (!describe_request(*io, queue)) return queue.release(*io);
  Asked asked{.op = io->op};
  begin_in_model(*io, asked);
  asked.slot = slots_used_[index_of(queue)]++;
  asked.io = io;
  queue.start(*io);
  std::ranges::copy(slot_of(queue.ring(), asked.slot), asked.written.begin());
  asked_[{index_of(queue), io->id}] = std::move(asked);
}

// False: the sectors are in use by another request.
bool HonestGuest::describe_request(FrontendIo& io, const FrontendQueue& queue) {
  const auto& disk = frontend_->properties();
  const auto dice = dice_.below(20);
  io.op = dice == 0 && disk.flush     ? Op::flush_diskcache
          : dice == 1 && disk.barrier ? Op::write_barrier
          : dice <= 3 && disk.discard ? Op::discard
          : dice <= 9                 ? Op::read
                                      : Op::write;
  io.first = {0};
  io.count = {0};
  if (io.op == Op::flush_diskcache) return true;
  if (io.op == Op::write_barrier && dice_.one_in(3)) return true;  // an empty one
  const auto unit = disk.sector_bytes / kSectorBytes;
  auto most = std::min(disk.sectors.n, dice_.one_in(2) ? 8 : kLongest);
  if (io.op != Op::discard) most = std::min(most, queue.transfer_max().n);
  if (io.op == Op::write_barrier) {
    most = std::min<std::uint64_t>(most, blkif::kMaxSegments * kSectorsPerPage);
  }
  io.count = {(1 + dice_.below(most / unit)) * unit};
  io.first = {choose_from(disk.sectors.n / unit, io.count.n / unit) * unit};
  return !sim_disk_.model().is_busy(io.first.n, io.count.n);
}

// Half the work in a corner of the disk, so that blocks are met again and by several at once.
std::uint64_t HonestGuest::choose_from(std::uint64_t sectors, std::uint64_t count) {
  const auto range = dice_.one_in(2) ? std::max(sectors / 8, count) : sectors;
  return dice_.below(range - count + 1);
}

void HonestGuest::begin_in_model(const FrontendIo& io, Asked& asked) {
  auto& model = sim_disk_.model();
  const auto data =
      io.data.first(changes(io.op) && io.op != Op::discard ? io.count.n * kSectorBytes : 0);
  if (io.op == Op::read) model.begin_read(io.first.n, io.count.n);
  if (io.op == Op::flush_diskcache || io.op == Op::write_barrier)
    asked.promises = model.begin_flush();
  if (io.op == Op::write || io.op == Op::write_barrier) model.begin_write(io.first.n, data);
  if (io.op == Op::discard) model.begin_zeroes(io.first.n, io.count.n);
  // What a read leaves untouched must not look like what it should have brought.
  if (io.op == Op::read) {
    std::ranges::fill(io.data.first(io.count.n * kSectorBytes), std::byte{0xa5});
  }
}

// Wrong in a way that has one right answer.
void HonestGuest::send_nonsense(FrontendQueue& queue, FrontendIo& io) {
  using loopback::wire;
  loopback::FrontendRequest request{.op = wire(Op::read), .id = io.id};
  auto deserves = Asked::Deserves::error;
  switch (dice_.below(6)) {
    case 0:
      request.op = static_cast<std::uint8_t>(7 + dice_.below(249));
      deserves = Asked::Deserves::unsupported;
      break;
    case 1:  // no segments
      break;
    case 2:
      request.segment_count_override = static_cast<int>(12 + dice_.below(244));
      break;
    case 3:  // no such grant
      request.segments = {{GrantRef{0xfffffff0}}};
      break;
    case 4:
      request.segments = {{GrantRef{1}, 5, 2}};
      break;
    default:
      request.segments = {{GrantRef{1}}};
      request.sector = {dice_.one_in(2) ? ~std::uint64_t{0} - dice_.below(9)
                                        : frontend_->properties().sectors.n};
      break;
  }
  // Tells take_answers that the model knows nothing of it.
  io.count = {0};
  io.op = Op::reserved_1;
  ++slots_used_[index_of(queue)];
  asked_[{index_of(queue), io.id}] = {.op = Op::reserved_1, .deserves = deserves};
  queue.ring().put(request);
}

void HonestGuest::take_answers(FrontendQueue& queue, Trace& trace) {
  // A driver looks at its ring when an event comes. Where events get lost it looks and asks again.
  const bool called = queue.port().take();
  if (!called && !(options_.events_get_lost && dice_.one_in(8))) return;
  if (!called && queue.in_flight() > 0) queue.port().notify();
  const auto index = index_of(queue);
  do {
    while (FrontendIo* const io = queue.reap()) {
      const auto found = asked_.find({index, io->id});
      if (found == asked_.end()) return fail("an answer to nothing");
      trace.add(io->id * 4 + static_cast<std::uint64_t>(static_cast<int>(io->status) + 2));
      ++result_.requests;
      check_answer(*io, found->second);
      asked_.erase(found);
      queue.release(*io);
    }
    if (const auto rule = queue.violation()) return fail(*rule);
  } while (queue.ring().arm());
}

void HonestGuest::check_answer(const FrontendIo& io, const Asked& asked) {
  const bool okay = io.status == Status::okay;
  if (asked.op == Op::reserved_1) {
    ++result_.refused;
    const auto wanted =
        asked.deserves == Asked::Deserves::error ? Status::error : Status::eopnotsupp;
    if (io.status != wanted) {
      fail(fmt::format("nonsense was answered {}", static_cast<int>(io.status)));
    }
    return;
  }
  if (!okay) {
    ++result_.failed;
    if (!options_.faults_allowed) {
      fail(fmt::format("operation {} on sector {} was answered {}", static_cast<int>(asked.op),
                       io.first.n, static_cast<int>(io.status)));
    }
  }
  end_in_model(io, asked, okay);
}

void HonestGuest::end_in_model(const FrontendIo& io, const Asked& asked, bool okay) {
  auto& model = sim_disk_.model();
  if (asked.op == Op::read) {
    model.end_read(io.first.n, io.count.n);
    if (!okay) return;
    const auto data = io.data.first(io.count.n * kSectorBytes);
    if (auto wrong = model.check(io.first.n, data, power_cut::Crash::none); !wrong.empty()) {
      fail(std::move(wrong));
    }
    return;
  }
  if (changes(asked.op)) model.end_write(io.first.n, io.count.n, okay);
  if (!okay || asked.promises.empty()) return;
  model.end_flush(asked.promises);
  if (asked.op != Op::write_barrier) return;
  // What a barrier has written is as safe as what came before it.
  auto own = model.begin_flush();
  for (std::uint64_t sector = 0; sector < own.size(); ++sector) {
    if (!fits({sector}, {1}, {io.first.n + io.count.n}) || sector < io.first.n) own[sector] = 0;
  }
  model.end_flush(own);
}

void HonestGuest::slot_was_taken(GrantRef page) {
  for (const auto& [key, asked] : asked_) {
    if (asked.io == nullptr || std::ranges::find(asked.io->refs, page) == asked.io->refs.end()) {
      continue;
    }
    auto& ring = frontend_->queue(key.first).ring();
    const auto slot = slot_of(ring, asked.slot);
    // Another request's response may be there already.
    if (!std::ranges::equal(slot, std::span(asked.written).first(slot.size()))) return;
    loopback::SlotBytes other;
    for (auto& byte : other) byte = static_cast<std::byte>(dice_.below(256));
    return ring.overwrite(asked.slot, std::span(other).first(slot.size()));
  }
}

std::size_t HonestGuest::index_of(const FrontendQueue& queue) const {
  std::size_t index = 0;
  while (&frontend_->queue(index) != &queue) ++index;
  return index;
}

bool HonestGuest::in_flight() const {
  for (std::size_t i = 0; i < frontend_->queue_count(); ++i) {
    if (frontend_->queue(i).in_flight() > 0) return true;
  }
  return false;
}

void HonestGuest::drain() {
  if (in_flight()) return;
  if (!asked_.empty()) return fail("a request has got lost in the ring");
  set_state("5");
  phase_ = Phase::closing;
}

void HonestGuest::go_on_closing() {
  const auto state = backend_state();
  if (state != "5" && state != "6" && !state.empty()) return;
  set_state("6");
  phase_ = Phase::closed;
}

void HonestGuest::wait_closed() {
  const auto state = backend_state();
  if (state != "6" && !state.empty()) return;
  frontend_.reset();
  if (const auto grants = domain_->grants_in_force(); grants > 0) {
    return fail(fmt::format("{} of its pages are still mapped", grants));
  }
  if (++lives_ >= options_.lives) {
    toolstack_.remove_disk(toolstack_disk_, {.timeout_ms = 0, .pump = {}});
    phase_ = Phase::ended;
    return;
  }
  // The toolstack has taken the disk away, and gives it back; or a new kernel starts.
  if (is_to_go()) {
    toolstack_.remove_disk(toolstack_disk_, {.timeout_ms = 0, .pump = {}});
    toolstack_.add_disk(toolstack_disk_);
  } else {
    remove_keys();
    set_state("1");
  }
  phase_ = Phase::begin;
}

// The next life has other rings, and may say so by other keys.
void HonestGuest::remove_keys() {
  const auto path = loopback::frontend_path(options_.id, toolstack_disk_.device);
  const auto names = store_->list(path);
  if (!names) return fail("cannot list its keys: " + describe(names.error()));
  for (const auto& name : *names) {
    if (name.starts_with("ring") || name.starts_with("num-ring") || name.starts_with("queue") ||
        name.starts_with("multi")) {
      static_cast<void>(store_->remove(path + "/" + name));
    }
  }
}

bool HonestGuest::is_to_go() {
  return toolstack_.backend_node(toolstack_disk_, "online") == "0";
}

std::string HonestGuest::backend_state() {
  return toolstack_.backend_state(toolstack_disk_).value_or("");
}

void HonestGuest::set_state(const char* state) {
  const auto written =
      store_->write(loopback::frontend_path(options_.id, toolstack_disk_.device) + "/state", state);
  if (!written) fail("cannot write its state: " + describe(written.error()));
}

std::string HonestGuest::where() const {
  constexpr std::array kNames{"begin", "offered", "published", "work",
                              "drain", "closing", "closed",    "ended"};
  return fmt::format("guest {} in {} with {} requests", options_.id.n,
                     kNames.at(static_cast<std::size_t>(phase_)), asked_.size());
}

void HonestGuest::fail(std::string wrong) {
  if (wrong_.empty()) wrong_ = fmt::format("guest {}: {}", options_.id.n, std::move(wrong));
}

}  // namespace xenblk::sim
