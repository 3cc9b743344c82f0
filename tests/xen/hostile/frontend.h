// A block frontend that does what it is told, right or wrong: a disk's nodes, and a ring that dom0
// has been given. What does not come about within kPatience throws std::runtime_error.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "tests/xen/hostile/devices.h"
#include "tests/xen/hostile/xen_headers.h"

namespace hostile {

inline constexpr std::uint32_t kRingEntries = 32;  // of one page
static_assert(sizeof(blkif_request) == 112, "x86_64-abi");

// The machine is a software CPU that others use too.
inline constexpr std::chrono::minutes kPatience{3};

enum class State { unknown, initialising, init_wait, initialised, connected, closing, closed };

inline constexpr std::uint32_t kReadOnlyDevice = (202 << 8) + 16;  // xvdb

// One disk of this guest, by its number. One thread.
class Disk {
 public:
  explicit Disk(std::uint32_t device);
  std::uint32_t number() const { return device_; }

  // From wherever both ends are to where the backend offers the disk to a new frontend.
  void begin();
  void set(const std::string& node, const std::string& value);
  void set(State state);
  // Any text; what we said before is forgotten.
  void set_state_text(const std::string& text);
  void remove(const std::string& node) { store_.remove(directory_ + "/" + node); }
  // Of the backend; empty when it is missing.
  std::string offered(const std::string& node);
  State backend_state();
  State await(std::initializer_list<State> any_of);

  // All in the directory goes, and comes back as the toolstack made it.
  void vanish();
  void reappear();
  // The directory itself, which a guest cannot make again. Until the backend has closed.
  void vanish_for_good();

 private:
  Store store_;
  std::uint32_t device_;
  std::string directory_;
  std::string backend_;
  std::set<std::string> keys_;        // written since the last begin()
  State said_ = State::initialising;  // what we wrote last
};

struct Answer {
  std::uint64_t id;
  std::uint8_t operation;
  std::int16_t status;
};

// The pages and the port of one queue. Not checked by anybody: indices go where they are put.
class Ring {
 public:
  explicit Ring(Grant grant = Grant::read_write);

  // The next slot; its id is set, and returned.
  std::uint64_t put(blkif_request request);
  void push() const;
  void set_producer(std::uint32_t index) const;
  std::uint32_t responses() const;
  blkif_sring& shared() const { return *reinterpret_cast<blkif_sring*>(pages_.memory().data()); }
  // The oldest answers that have not been taken, as soon as there are so many.
  std::vector<Answer> take(std::size_t count);
  // Puts one request and waits for its answer, which must be to that and nothing else.
  Answer ask(const blkif_request& request);

  const Pages& pages() const { return pages_; }
  Pages& pages() { return pages_; }
  const Port& port() const { return port_; }
  std::uint32_t producer() const { return producer_; }

 private:
  Pages pages_;
  Port port_;
  std::uint32_t producer_ = 0;
  std::uint32_t consumer_ = 0;
};

// What a good frontend writes before it says Initialised.
void publish(Disk& disk, const Ring& ring);

// A ring that the backend serves, until close() or the end of this object.
class Connection {
 public:
  explicit Connection(Disk& disk, bool persistent = false);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();
  void close();
  // Without a word to the backend.
  void abandon() { open_ = false; }
  Ring ring;

 private:
  Disk& disk_;
  bool open_ = true;
};

// --- requests ---
struct Piece {
  std::uint32_t ref;
  std::uint8_t first = 0;
  std::uint8_t last = 7;
};
blkif_request transfer(int operation, std::uint64_t sector, const std::vector<Piece>& pieces);
blkif_request discard(std::uint64_t sector, std::uint64_t count);
blkif_request indirect(int operation, std::uint64_t sector, std::uint16_t segments,
                       std::uint32_t table_ref);

// Writes and reads back on a new connection, as a frontend that means well.
void converse(Disk& disk);
// Reads, on a new connection.
void converse_read_only(Disk& disk);

}  // namespace hostile
