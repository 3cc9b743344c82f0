// A simulated blkfront: the handshake of Linux's xen-blkfront in XenStore, its queues, and reads,
// writes, flushes, barriers and discards through them. Notices every rule that a backend breaks
// (violation()).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/platform/loopback/frontend_queue.h"
#include "backend/platform/loopback/guest_domain.h"
#include "backend/platform/loopback/store_wait.h"

namespace xenblk::loopback {

// How the size of a ring is told: the plain key for one page, the current keys, or the deprecated
// one.
enum class RingKeys : std::uint8_t { ring_ref, ring_page_order, num_ring_pages };

struct FrontendOptions {
  DeviceId device = {51712};
  QueueOptions queue;
  std::uint32_t queues = 1;
  // ring_ref needs one page a ring; with more, ring_page_order is taken instead.
  RingKeys keys = RingKeys::ring_ref;
  Grants grants = Grants::per_request;  // persistent only if the backend offers it
  bool write_protocol = true;
  Patience patience;
};

// What the backend has told by the time it is Connected.
struct DiskProperties {
  SectorCount sectors;
  std::uint32_t sector_bytes = 0;
  std::uint32_t info = 0;
  bool flush = false;
  bool barrier = false;
  bool discard = false;
  bool persistent = false;
  std::uint32_t indirect_segments_max = 0;
};

// Pinned; one thread, except that each queue may be given to a thread of its own between connect()
// and close().
class SimulatedFrontend {
 public:
  SimulatedFrontend(std::shared_ptr<GuestDomain> guest, FrontendOptions options);

  // The whole handshake. Errors: closed (the backend did not get there in time, with its state in
  // the text, or is closing), bad_node (a node that must be there when it is Connected is not),
  // refused (it offers fewer queues or ring pages than the options want).
  Expected<void> connect();
  // Its parts, for tests of what lies between them.
  Expected<void> wait_for_offer();  // until the backend is InitWait
  Expected<void> publish_rings();   // keys in one transaction, then Initialised
  Expected<void> finish_connect();  // until the backend is Connected, then Connected

  // Closing, Closed. Errors: closed (the backend did not follow in time).
  Expected<void> close();
  // After close() with the backend still online: Initialising, as a new kernel after kexec.
  Expected<void> reinitialise();

  const DiskProperties& properties() const { return properties_; }
  // Reads the properties again, as Linux does when a Connected backend says Connected again
  // (resize).
  Expected<void> reread_properties();
  FrontendQueue& queue(std::size_t index = 0) { return *queues_.at(index); }
  std::size_t queue_count() const { return queues_.size(); }

  // One after the other through queue 0, in as many requests as it takes; the first status that is
  // not okay ends it. Errors: closed (no answer in time, or violation()).
  Expected<blkif::Status> read(SectorIndex first, std::span<std::byte> data);
  Expected<blkif::Status> write(SectorIndex first, std::span<const std::byte> data);
  Expected<blkif::Status> write_barrier(SectorIndex first, std::span<const std::byte> data);
  Expected<blkif::Status> flush();
  Expected<blkif::Status> discard(SectorIndex first, SectorCount count);

  // The first rule that the backend broke on any queue.
  std::optional<std::string> violation() const;

  XenStore& store() { return *store_; }
  const std::string& path() const { return path_; }
  const std::string& backend_path() const { return backend_path_; }

 private:
  Expected<void> switch_state(std::string_view state);
  Expected<void> wait_for_backend(std::string_view state);
  Expected<void> check_offer();
  Expected<void> write_keys(Transaction transaction);
  Expected<void> write_ring_keys(const std::string& directory, FrontendQueue& queue,
                                 Transaction transaction);
  Expected<std::uint64_t> backend_number(std::string_view name);
  std::uint64_t backend_number_or(std::string_view name, std::uint64_t missing);
  Expected<blkif::Status> run_one(FrontendIo& io);
  Expected<blkif::Status> send(blkif::Op op, SectorIndex first, std::span<const std::byte> data);
  Expected<blkif::Status> send_empty(blkif::Op op, SectorIndex first, SectorCount count);

  std::shared_ptr<GuestDomain> guest_;
  FrontendOptions options_;
  std::unique_ptr<XenStore> store_;
  std::string path_;
  std::string backend_path_;
  std::vector<std::unique_ptr<FrontendQueue>> queues_;
  DiskProperties properties_;
};

}  // namespace xenblk::loopback
