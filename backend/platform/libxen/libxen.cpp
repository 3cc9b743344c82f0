#include "backend/platform/libxen/libxen.h"

#include "backend/platform/libxen/event_channels.h"
#include "backend/platform/libxen/grant_table.h"
#include "backend/platform/libxen/store.h"

namespace xenblk::libxen {

namespace {

class LibxenXen final : public Xen {
 public:
  Expected<std::unique_ptr<XenStore>> open_store() override { return LibxenStore::open(); }
  Expected<std::unique_ptr<EventChannels>> open_event_channels() override {
    return LibxenEventChannels::open();
  }
  Expected<std::unique_ptr<GrantTable>> open_grant_table() override {
    return LibxenGrantTable::open();
  }
};

}  // namespace

std::unique_ptr<Xen> open_xen() {
  return std::make_unique<LibxenXen>();
}

}  // namespace xenblk::libxen
