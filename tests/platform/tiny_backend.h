// The smallest backend that a frontend can connect to: a disk in memory, served by step(), in the
// test's own thread. Only well-behaved guests are expected; its faults are what the tests ask for.
#pragma once

#include <memory>
#include <vector>

#include "backend/platform/loopback/frontend_request.h"
#include "backend/platform/loopback/toolstack.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

enum class BackendFault : std::uint8_t {
  none,
  keeps_pages_mapped,
  answers_with_another_id,
  answers_twice,
  answers_nothing,
  never_connects,
  forgets_sector_size,
};

class TinyBackend {
 public:
  TinyBackend(Xen& xen, Disk disk, SectorCount capacity);

  // One round: react to the frontend's state, serve what is in the rings.
  void step();
  void fail_from_now(BackendFault fault) { fault_ = fault; }
  std::uint64_t indirect_requests() const { return indirect_requests_; }

 private:
  struct Queue {
    GrantMapping ring;
    EventPort port;
    std::uint32_t entries = 0;
    std::uint32_t consumed = 0;
  };

  void follow(const std::string& frontend_state);
  void connect();
  void connect_queue(const std::string& directory);
  void publish_properties();
  void disconnect();
  void serve(Queue& queue);
  void serve_one(std::byte* slot);
  void answer(std::byte* slot, std::uint64_t id, std::uint8_t op);
  void move(std::uint8_t op, std::uint64_t sector, const std::byte* segments, std::uint32_t count);
  NodeValue own(std::string_view name);
  void put(std::string_view name, std::string_view value);
  std::uint32_t frontend_number(const std::string& path);

  Disk disk_;
  std::unique_ptr<XenStore> store_;
  std::unique_ptr<EventChannels> channels_;
  std::unique_ptr<GrantTable> table_;
  blkif::Layout layout_ = blkif::Layout::native;
  std::vector<Queue> queues_;
  std::vector<GrantMapping> kept_;
  std::vector<std::byte> content_;
  BackendFault fault_ = BackendFault::none;
  std::uint64_t indirect_requests_ = 0;
};

}  // namespace xenblk::loopback
