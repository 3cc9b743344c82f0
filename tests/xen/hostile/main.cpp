// A frontend that keeps no rule, run as root in a guest whose blkfront is not loaded.
//
//   hostile_guest list            the names of the abuses
//   hostile_guest NAME            one of them; then a good conversation on a new connection
//   hostile_guest all             each
//   hostile_guest vanish          xvdb is connected, and its directory removed for good
//   hostile_guest storm SECONDS   many at once; spin SECONDS: the same load on the processor alone
//
// The disk is xvda; xvdb is a read-only one. A line for each: what came of it. Status 0: what had
// to.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

constexpr std::uint32_t kDevice = 202 << 8;  // xvda

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto cases :
       {request_cases(), segment_cases(), ring_cases(), session_cases(), state_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

bool run(Disk& disk, const Case& abuse) {
  const char* step = "";
  std::string outcome;
  try {
    outcome = abuse.commit(disk);
    step = "afterwards: ";
    if (outcome == abuse.outcome) converse(disk);
  } catch (const std::runtime_error& error) {
    outcome = step + std::string(error.what());
  }
  const bool right = outcome == abuse.outcome;
  std::printf("hostile: %s: %s", std::string(abuse.name).c_str(), outcome.c_str());
  if (!right) std::printf(", instead of: %s", std::string(abuse.outcome).c_str());
  std::printf("\n");
  std::fflush(stdout);
  return right;
}

bool run_those(const std::string& name) {
  Disk disk(kDevice);
  bool found = false;
  bool right = true;
  for (const auto& abuse : all_cases()) {
    if (name != "all" && name != abuse.name) continue;
    found = true;
    right = run(disk, abuse) && right;
  }
  if (!found) std::printf("hostile: no such abuse: %s\n", name.c_str());
  return found && right;
}

void vanish() {
  Disk disk(kReadOnlyDevice);
  Connection connection(disk);
  disk.vanish_for_good();
  connection.abandon();
  std::printf("hostile: vanish: closed\n");
}

bool obey(const std::string& command, int seconds) {
  if (command == "list") {
    for (const auto& abuse : all_cases()) std::printf("%s\n", std::string(abuse.name).c_str());
    return true;
  }
  if (command == "vanish") return vanish(), true;
  if (command == "spin") return spin(seconds), true;
  if (command != "storm") return run_those(command);
  Disk disk(kDevice);
  return storm(disk, seconds), true;
}

}  // namespace
}  // namespace hostile

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: hostile_guest list|all|NAME|vanish|storm SECONDS|spin SECONDS\n");
    return 2;
  }
  try {
    return hostile::obey(argv[1], argc > 2 ? std::atoi(argv[2]) : 10) ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("hostile: %s\n", error.what());
    return 1;
  }
}
