// Which devices are looked at, and when. A guest can write its nodes without end, and each look
// costs the daemon and xenstored some ten reads: a guest has a budget of looks for what it writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "backend/negotiation/paths.h"
#include "backend/token_bucket.h"

namespace xenblk::backend {

// What is new about a device.
enum class Change : std::uint8_t {
  // Something in the backend's directory, which only dom0 writes, or something that we had started
  // is done. Looked at without delay; the frontend is looked at too unless a look at it is put off.
  backend,
  frontend,  // its guest has written; looked at as soon as the guest's budget allows
  all,       // no guest can cause this as often as it likes: all is looked at without delay
};

struct LookRate {
  // A disk that is attached, used and detached takes about ten. A guest that attaches anew again
  // and again is not slowed down for some dozens of rounds, and then to one round a second.
  std::uint32_t burst = 256;
  std::uint32_t for_each_disk = 16;  // further ones, when dom0 gives the guest a disk
  std::chrono::nanoseconds refill = std::chrono::milliseconds(200);
};

// What a look reads.
enum class Sight : std::uint8_t {
  backend,   // what was seen of the frontend the last time is still good
  frontend,  // and the rest only if something there has changed
  both,
};

struct Look {
  negotiation::DeviceKey key;
  Sight sight;
};

struct DueLooks {
  std::vector<Look> looks;
  std::vector<negotiation::DeviceKey> put_off;  // those that are put off from now on
};

// Pure: no clock and no XenStore. One entry for each device, however often something changes, and
// one for each guest that has devices. One thread.
class LookSchedule {
 public:
  using Time = TokenBucket::Time;

  explicit LookSchedule(LookRate rate = {}) : rate_(rate) {}

  void changed(const negotiation::DeviceKey& key, Change change);
  // The guest of a device has a budget from when it has got its first until its last has gone.
  void made(const negotiation::DeviceKey& key);
  void gone(const negotiation::DeviceKey& key);

  // What is to be looked at now. A look that is put off is among those of a later call.
  DueLooks take(Time now);
  // How long until take() has one of those that are put off; nothing when there is none.
  std::optional<std::chrono::nanoseconds> wait(Time now) const;

 private:
  struct Changes {
    bool backend = false, frontend = false, all = false;
    bool let_in = false;  // the frontend was put off, and its turn has come
  };
  struct Guest {
    TokenBucket budget;
    std::uint32_t disks = 0;
    // In the order in which their turn comes, so that no disk of the guest waits for ever.
    std::deque<negotiation::DeviceKey> put_off = {};
    // Whose look was put off and has been taken since: it sets their watch again, and XenStore
    // tells of that by an event, which is none of the guest's doing.
    std::set<negotiation::DeviceKey> heard_anew = {};
  };
  void let_in(Guest& guest, Time now);
  bool pays(Guest& guest, const negotiation::DeviceKey& key, Time now);
  void add(DueLooks& due, const negotiation::DeviceKey& key, Changes changes, Time now);

  const LookRate rate_;
  std::map<negotiation::DeviceKey, Changes> changed_;
  std::map<DomainId, Guest> guests_;
};

}  // namespace xenblk::backend
