#include "backend/look_schedule.h"

#include <algorithm>
#include <utility>

namespace xenblk::backend {

using negotiation::DeviceKey;

void LookSchedule::changed(const DeviceKey& key, Change change) {
  auto& changes = changed_[key];
  switch (change) {
    case Change::backend:
      changes.backend = true;
      break;
    case Change::frontend:
      changes.frontend = true;
      break;
    case Change::all:
      changes.all = true;
      break;
  }
}

void LookSchedule::made(const DeviceKey& key) {
  const TokenBucket full(rate_.burst, rate_.refill);
  auto& guest = guests_.try_emplace(key.domain, Guest{full}).first->second;
  ++guest.disks;
  guest.budget.add(rate_.for_each_disk);
}

void LookSchedule::gone(const DeviceKey& key) {
  const auto found = guests_.find(key.domain);
  if (found == guests_.end()) return;
  std::erase(found->second.put_off, key);
  found->second.heard_anew.erase(key);
  if (--found->second.disks == 0) guests_.erase(found);
}

DueLooks LookSchedule::take(Time now) {
  // Those that wait go before those that have just changed.
  for (auto& [domain, guest] : guests_) let_in(guest, now);
  DueLooks due;
  for (const auto& [key, changes] : std::exchange(changed_, {})) add(due, key, changes, now);
  return due;
}

void LookSchedule::let_in(Guest& guest, Time now) {
  while (!guest.put_off.empty() && guest.budget.take(now)) {
    changed_[guest.put_off.front()].let_in = true;
    guest.heard_anew.insert(guest.put_off.front());
    guest.put_off.pop_front();
  }
}

bool LookSchedule::pays(Guest& guest, const DeviceKey& key, Time now) {
  if (guest.heard_anew.erase(key) > 0) return true;
  return guest.put_off.empty() && guest.budget.take(now);
}

void LookSchedule::add(DueLooks& due, const DeviceKey& key, Changes changes, Time now) {
  const auto found = guests_.find(key.domain);
  if (found == guests_.end()) return due.looks.push_back({key, Sight::both});
  auto& guest = found->second;
  bool waits = std::ranges::find(guest.put_off, key) != guest.put_off.end();
  if (changes.all) {
    if (waits) std::erase(guest.put_off, key), guest.heard_anew.insert(key);
    return due.looks.push_back({key, Sight::both});
  }
  bool let_in = changes.let_in;
  if (changes.frontend && !let_in && !waits) {
    let_in = pays(guest, key, now);
    waits = !let_in;
    if (waits) guest.put_off.push_back(key), due.put_off.push_back(key);
  }
  if (!changes.backend) {
    if (let_in) due.looks.push_back({key, Sight::frontend});
    return;
  }
  due.looks.push_back({key, waits ? Sight::backend : Sight::both});
}

std::optional<std::chrono::nanoseconds> LookSchedule::wait(Time now) const {
  std::optional<std::chrono::nanoseconds> least;
  for (const auto& [domain, guest] : guests_) {
    if (guest.put_off.empty()) continue;
    const auto wait = guest.budget.wait(now);
    if (!least || wait < *least) least = wait;
  }
  return least;
}

}  // namespace xenblk::backend
