#include "tests/xen/hostile/frontend.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>

namespace hostile {
namespace {

constexpr std::chrono::milliseconds kPause{10};

bool wait_for(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

std::atomic_ref<std::uint32_t> index(std::uint32_t& word) {
  return std::atomic_ref(word);
}

}  // namespace

// --- disk ---
Disk::Disk(std::uint32_t device)
    : device_(device), directory_("device/vbd/" + std::to_string(device)) {
  const auto backend = store_.read(directory_ + "/backend");
  if (!backend) throw std::runtime_error("there is no " + directory_);
  backend_ = *backend;
}

void Disk::begin() {
  if (said_ != State::initialising || backend_state() != State::init_wait) {
    set(State::closing);
    await({State::closing, State::closed});
    set(State::closed);
    await({State::closed});
  }
  for (const auto& key : std::exchange(keys_, {})) remove(key);
  set(State::initialising);
  await({State::init_wait});
}

void Disk::set(const std::string& node, const std::string& value) {
  // The directory of a queue goes with all that is in it.
  if (node != "state") keys_.insert(node.substr(0, node.find('/')));
  if (!store_.write(directory_ + "/" + node, value)) {
    throw std::runtime_error("XenStore refused " + node);
  }
}
void Disk::set(State state) {
  said_ = state;
  set("state", std::to_string(static_cast<int>(state)));
}

void Disk::set_state_text(const std::string& text) {
  said_ = State::unknown;
  set("state", text);
}

std::string Disk::offered(const std::string& node) {
  return store_.read(backend_ + "/" + node).value_or("");
}

State Disk::backend_state() {
  const auto text = offered("state");
  return text.size() == 1 ? static_cast<State>(text[0] - '0') : State::unknown;
}

State Disk::await(std::initializer_list<State> any_of) {
  State now{};
  const auto there = [&] {
    now = backend_state();
    return std::ranges::find(any_of, now) != any_of.end();
  };
  if (wait_for(there)) return now;
  throw std::runtime_error("the backend stays in state " + std::to_string(static_cast<int>(now)) +
                           ", last error: " + offered("hotplug-error"));
}

void Disk::vanish() {
  for (const auto& key : std::exchange(keys_, {})) remove(key);
  for (const auto* node : {"backend", "backend-id", "state"}) remove(node);
  said_ = State::unknown;
}
void Disk::reappear() {
  store_.write(directory_ + "/backend", backend_);
  store_.write(directory_ + "/backend-id", "0");
}

void Disk::vanish_for_good() {
  store_.remove(directory_);
  await({State::closed});
}

// --- ring ---
Ring::Ring(Grant grant) : pages_(1, grant) {
  shared().req_event = 1;
  shared().rsp_event = 1;
}

std::uint64_t Ring::put(blkif_request request) {
  // No two alike, and none like what a slot had before.
  request.id = 0x1d00'0000'0000ULL + producer_;
  std::memcpy(&shared().ring[producer_ % kRingEntries], &request, sizeof request);
  ++producer_;
  return request.id;
}

void Ring::push() const {
  set_producer(producer_);
  port_.notify();
}
void Ring::set_producer(std::uint32_t producer) const {
  index(shared().req_prod).store(producer);
}
std::uint32_t Ring::responses() const {
  return index(shared().rsp_prod).load();
}

std::vector<Answer> Ring::take(std::size_t count) {
  std::vector<Answer> answers;
  const auto there = [&] {
    index(shared().rsp_event).store(consumer_ + 1);
    port_.wait(1);
    return responses() - consumer_ >= count;
  };
  if (!wait_for(there)) throw std::runtime_error("no answer");
  for (; answers.size() < count; ++consumer_) {
    blkif_response response;
    std::memcpy(&response, &shared().ring[consumer_ % kRingEntries], sizeof response);
    answers.push_back({response.id, response.operation, response.status});
  }
  return answers;
}

Answer Ring::ask(const blkif_request& request) {
  const auto id = put(request);
  push();
  const auto answer = take(1).front();
  if (answer.id != id) throw std::runtime_error("the answer is to another request");
  // To an indirect request it names the operation inside.
  const auto operation =
      request.operation == BLKIF_OP_INDIRECT ? request.nr_segments : request.operation;
  if (answer.operation != operation) throw std::runtime_error("the answer has another operation");
  return answer;
}

// --- connection ---
void publish(Disk& disk, const Ring& ring) {
  disk.set("protocol", "x86_64-abi");
  disk.set("ring-ref", std::to_string(ring.pages().ref()));
  disk.set("event-channel", std::to_string(ring.port().number()));
}

Connection::Connection(Disk& disk, bool persistent) : disk_(disk) {
  disk.begin();
  publish(disk, ring);
  if (persistent) disk.set("feature-persistent", "1");
  disk.set(State::initialised);
  if (disk.await({State::connected, State::closing}) == State::closing) {
    throw std::runtime_error("not connected: " + disk.offered("hotplug-error"));
  }
  disk.set(State::connected);
}

// An exception is on its way when it is still open.
Connection::~Connection() {
  try {
    close();
  } catch (const std::runtime_error&) {
  }
}

void Connection::close() {
  if (!std::exchange(open_, false)) return;
  disk_.begin();
}

// --- requests ---
blkif_request transfer(int operation, std::uint64_t sector, const std::vector<Piece>& pieces) {
  blkif_request request{};
  request.operation = static_cast<std::uint8_t>(operation);
  request.nr_segments = static_cast<std::uint8_t>(pieces.size());
  request.sector_number = sector;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    request.seg[i].gref = pieces[i].ref;
    request.seg[i].first_sect = pieces[i].first;
    request.seg[i].last_sect = pieces[i].last;
  }
  return request;
}

blkif_request discard(std::uint64_t sector, std::uint64_t count) {
  blkif_request_discard request{};
  request.operation = BLKIF_OP_DISCARD;
  request.sector_number = sector;
  request.nr_sectors = count;
  blkif_request slot{};
  std::memcpy(&slot, &request, sizeof request);
  return slot;
}

blkif_request indirect(int operation, std::uint64_t sector, std::uint16_t segments,
                       std::uint32_t table_ref) {
  blkif_request_indirect request{};
  request.operation = BLKIF_OP_INDIRECT;
  request.indirect_op = static_cast<std::uint8_t>(operation);
  request.nr_segments = segments;
  request.sector_number = sector;
  std::ranges::fill(request.indirect_grefs, table_ref);
  blkif_request slot{};
  static_assert(sizeof request <= sizeof slot);
  std::memcpy(&slot, &request, sizeof request);
  return slot;
}

void converse(Disk& disk) {
  static std::mt19937 random(1);
  Connection connection(disk);
  const Pages written;
  const Pages read;
  for (auto& byte : written.memory()) byte = static_cast<std::byte>(random());
  const auto put = connection.ring.ask(transfer(BLKIF_OP_WRITE, 64, {{written.ref()}}));
  const auto got = connection.ring.ask(transfer(BLKIF_OP_READ, 64, {{read.ref()}}));
  connection.close();
  if (put.status != BLKIF_RSP_OKAY) throw std::runtime_error("a good write failed");
  if (got.status != BLKIF_RSP_OKAY) throw std::runtime_error("a good read failed");
  if (!std::ranges::equal(written.memory(), read.memory())) {
    throw std::runtime_error("other data came back");
  }
}

void converse_read_only(Disk& disk) {
  Connection connection(disk);
  const Pages read;
  const auto got = connection.ring.ask(transfer(BLKIF_OP_READ, 64, {{read.ref()}}));
  connection.close();
  if (got.status != BLKIF_RSP_OKAY) throw std::runtime_error("a good read failed");
}

}  // namespace hostile
