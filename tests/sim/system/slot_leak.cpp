#include "tests/sim/system/slot_leak.h"

#include "ringio/slot_pool.h"

// SlotPool::give_back, under the names that the linker's --wrap gives it: the first is called in
// its place, the second is what it was.
extern "C" {
void __wrap__ZN6xenblk6ringio8SlotPool9give_backERNS0_11RequestSlotE(  // NOLINT
    xenblk::ringio::SlotPool* pool, xenblk::ringio::RequestSlot& slot) noexcept;
void __real__ZN6xenblk6ringio8SlotPool9give_backERNS0_11RequestSlotE(  // NOLINT
    xenblk::ringio::SlotPool* pool, xenblk::ringio::RequestSlot& slot) noexcept;
}

namespace xenblk::sim {
namespace {

constexpr int kOneIn = 50;
int until_leak = 0;  // 0: none leaks

}  // namespace

void leak_slots(bool leak) {
  until_leak = leak ? kOneIn : 0;
}

}  // namespace xenblk::sim

void __wrap__ZN6xenblk6ringio8SlotPool9give_backERNS0_11RequestSlotE(  // NOLINT
    xenblk::ringio::SlotPool* pool, xenblk::ringio::RequestSlot& slot) noexcept {
  using xenblk::sim::until_leak;
  if (until_leak > 1) --until_leak;
  if (until_leak == 1) {
    until_leak = xenblk::sim::kOneIn;
    return;
  }
  __real__ZN6xenblk6ringio8SlotPool9give_backERNS0_11RequestSlotE(pool, slot);
}
