// The abuses, each by name with the one outcome that is right. Names follow those of the tests that
// do the same on the loopback Xen (tests/ringio/hostile_*_test.cpp, tests/backend).
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tests/xen/hostile/frontend.h"

namespace hostile {

struct Case {
  std::string_view name;
  std::string_view outcome;
  // Commits the abuse, and says what came of it. Leaves the disk to whoever begins again.
  std::string (*commit)(Disk& disk);
};

std::span<const Case> request_cases();
std::span<const Case> segment_cases();
std::span<const Case> ring_cases();
std::span<const Case> session_cases();
std::span<const Case> state_cases();

// Answers in words: "2 error, 1 okay".
class Tally {
 public:
  void add(const Answer& answer);
  std::string text() const;

 private:
  std::map<std::string, int> counts_;
};

// Everything at once for so many seconds, on a disk that stays connected: slots that change, events
// without end, and a state that is written again and again.
void storm(Disk& disk, int seconds);
// As many threads, which do nothing to anybody: what of a neighbour's loss is only the processor's.
void spin(int seconds);

}  // namespace hostile
