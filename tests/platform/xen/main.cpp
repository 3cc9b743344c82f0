// Runs the contract tests on the real Xen. Only in a dom0: elsewhere it says what is missing and
// fails, so that nobody takes "no tests ran" for success.
#include <gtest/gtest.h>

#include <cstdio>

#include "backend/platform/libxen/libxen.h"
#include "backend/platform/libxen/peer.h"

namespace {

template <class T>
bool present(const xenblk::Expected<T>& opened) {
  if (opened) return true;
  std::fprintf(stderr, "xen_contract_test: %s\n", xenblk::describe(opened.error()).c_str());
  return false;
}

bool in_dom0() {
  const auto xen = xenblk::libxen::open_xen();
  return present(xen->open_event_channels()) && present(xen->open_grant_table()) &&
         present(xen->open_store()) && present(xenblk::libxen::Peer::open());
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!in_dom0()) return 1;
  return RUN_ALL_TESTS();
}
