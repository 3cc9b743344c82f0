// A guest that keeps every rule: it connects, works, verifies what it reads and that each request
// is answered once with the status it deserves, closes, and comes back.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "backend/platform/loopback/frontend.h"
#include "backend/platform/loopback/toolstack.h"
#include "tests/sim/system/chance.h"
#include "tests/sim/system/plan.h"
#include "tests/sim/system/sim_disk.h"

namespace xenblk::sim {

struct GuestOptions {
  DomainId id;
  bool faults_allowed = false;  // a request may fail although nothing is wrong with it
  bool events_get_lost = false;
  int lives = 2;       // connections
  int requests = 150;  // in each, about
};

// Pinned; borrows all it is given.
class HonestGuest {
 public:
  HonestGuest(loopback::LoopbackXen& xen, loopback::LoopbackToolstack& toolstack, SimDisk& disk,
              Dice& dice, const GuestOptions& options);

  // Does one thing, or nothing.
  void step(Trace& trace);
  // The backend works on this page, so it has taken the request that named it: from now on the
  // request's slot is not looked at again, and this guest puts something else there.
  void slot_was_taken(GrantRef page);
  // True when it has lived all its lives and the backend has closed.
  bool ended() const { return phase_ == Phase::ended; }
  std::string where() const;
  const std::string& wrong() const { return wrong_; }
  const SystemResult& result() const { return result_; }
  const loopback::Disk& disk() const { return toolstack_disk_; }

 private:
  enum class Phase : std::uint8_t {
    begin,
    offered,
    published,
    work,
    drain,
    closing,
    closed,
    ended
  };
  struct Asked {
    enum class Deserves : std::uint8_t { okay, error, unsupported };
    blkif::Op op = blkif::Op::read;
    Deserves deserves = Deserves::okay;
    std::vector<std::uint64_t> promises = {};  // of a flush or barrier
    std::uint32_t slot = 0;
    loopback::SlotBytes written = {};  // what the guest put there
    const loopback::FrontendIo* io = nullptr;
  };

  void begin();
  void await_offer();
  void await_connected();
  void work();
  void drain();
  void go_on_closing();
  void wait_closed();
  void remove_keys();
  void choose_request(loopback::FrontendQueue& queue);
  bool describe_request(loopback::FrontendIo& io, const loopback::FrontendQueue& queue);
  void begin_in_model(const loopback::FrontendIo& io, Asked& asked);
  void send_nonsense(loopback::FrontendQueue& queue, loopback::FrontendIo& io);
  void take_answers(loopback::FrontendQueue& queue, Trace& trace);
  void check_answer(const loopback::FrontendIo& io, const Asked& asked);
  void end_in_model(const loopback::FrontendIo& io, const Asked& asked, bool okay);
  std::uint64_t choose_from(std::uint64_t sectors, std::uint64_t count);
  std::string backend_state();
  bool is_to_go();  // the toolstack has asked
  void set_state(const char* state);
  std::size_t index_of(const loopback::FrontendQueue& queue) const;
  bool in_flight() const;
  void fail(std::string wrong);

  loopback::LoopbackToolstack& toolstack_;
  SimDisk& sim_disk_;
  Dice& dice_;
  const GuestOptions options_;
  loopback::Disk toolstack_disk_;
  std::shared_ptr<loopback::GuestDomain> domain_;
  std::unique_ptr<XenStore> store_;
  std::unique_ptr<loopback::SimulatedFrontend> frontend_;
  std::map<std::pair<std::size_t, std::uint64_t>, Asked> asked_;  // by queue and id
  Phase phase_ = Phase::begin;
  std::vector<std::uint32_t> slots_used_;  // of each queue's ring, ever
  int lives_ = 0;
  int requests_left_ = 0;
  std::string wrong_;
  SystemResult result_;
};

}  // namespace xenblk::sim
