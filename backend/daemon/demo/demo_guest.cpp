#include "backend/daemon/demo/demo_guest.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>
#include <vector>

#include "backend/platform/loopback/frontend_load.h"

namespace xenblk::demo {

namespace {

using loopback::Load;
using loopback::LoadResult;

const loopback::Patience kPatience{.timeout_ms = 60000, .pump = {}};
constexpr SectorCount kRequest{8 * kSectorsPerPage};  // 32 KiB, eight segments

std::string complain(std::string_view what, const LoadResult& result) {
  if (result.violation)
    return fmt::format("{}: the backend broke a rule: {}", what, *result.violation);
  return fmt::format("{}: {} failed, {} with other content than written", what, result.failed,
                     result.mismatched);
}

class Guest {
 public:
  Guest(loopback::LoopbackXen& xen, const GuestPlan& plan)
      : plan_(plan), toolstack_(xen), domain_(xen.create_domain(plan.domain)) {}

  GuestReport run() {
    attach();
    const auto writing = timed_load(blkif::Op::write, "writing");
    flush();
    const auto reading = timed_load(blkif::Op::read, "reading back");
    detach();
    attach();
    timed_load(blkif::Op::read, "reading after it was attached again");
    detach();
    report_.writes_per_second = writing;
    report_.reads_per_second = reading;
    return report_;
  }

 private:
  loopback::Disk disk() const { return {.guest = plan_.domain, .params = plan_.image}; }
  bool failed() const { return !report_.failure.empty(); }
  void fail_with(std::string reason) {
    if (!failed()) report_.failure = std::move(reason);
  }

  void attach() {
    if (failed()) return;
    toolstack_.add_disk(disk());
    frontend_ = std::make_unique<loopback::SimulatedFrontend>(
        domain_,
        loopback::FrontendOptions{.queue = {.layout = plan_.layout, .ring_pages = plan_.ring_pages},
                                  .queues = plan_.queues,
                                  .keys = plan_.keys,
                                  .patience = kPatience});
    if (const auto connected = frontend_->connect(); !connected) {
      fail_with(describe(connected.error()));
      const auto reason = toolstack_.backend_node(disk(), "hotplug-error");
      if (reason) report_.failure += ": " + *reason;
    }
  }

  void detach() {
    if (failed()) return;
    if (const auto closed = frontend_->close(); !closed) return fail_with(describe(closed.error()));
    if (!toolstack_.remove_disk(disk(), kPatience)) fail_with("the disk cannot be removed");
    frontend_.reset();
  }

  void flush() {
    if (failed()) return;
    const auto status = frontend_->flush();
    if (!status || *status != blkif::Status::okay) fail_with("flush failed");
  }

  // Requests per second. Each queue has a thread of its own, as a guest's CPUs have.
  double timed_load(blkif::Op op, std::string_view what) {
    if (failed()) return 0;
    const auto started = std::chrono::steady_clock::now();
    std::vector<LoadResult> results(plan_.queues);
    std::vector<std::thread> threads;
    for (std::uint32_t index = 0; index < plan_.queues; ++index) {
      threads.emplace_back([&, index] {
        results[index] = loopback::run_load(frontend_->queue(index), load_of(op, index));
      });
    }
    for (auto& thread : threads) thread.join();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
    return judge(op, what, results) / taken.count();
  }

  // The queues share the disk, each its own part of it.
  Load load_of(blkif::Op op, std::uint32_t index) const {
    const auto requests = plan_.disk_bytes / kSectorBytes / plan_.queues / kRequest.n;
    const SectorCount length{requests * kRequest.n};
    return {.op = op,
            .content = loopback::Content::pattern,
            .first = {index * length.n},
            .length = length,
            .request = kRequest,
            .requests = requests,
            .seed = plan_.domain.n,
            .patience = kPatience};
  }

  double judge(blkif::Op op, std::string_view what, const std::vector<LoadResult>& results) {
    std::uint64_t answered = 0;
    for (const auto& result : results) {
      if (!result.clean()) fail_with(complain(what, result));
      answered += result.answered;
    }
    if (op == blkif::Op::read && !failed()) {
      report_.bytes_verified += answered * kRequest.n * kSectorBytes;
    }
    return static_cast<double>(answered);
  }

  const GuestPlan& plan_;
  loopback::LoopbackToolstack toolstack_;
  std::shared_ptr<loopback::GuestDomain> domain_;
  std::unique_ptr<loopback::SimulatedFrontend> frontend_;
  GuestReport report_;
};

}  // namespace

GuestReport run_guest(loopback::LoopbackXen& xen, const GuestPlan& plan) {
  auto report = Guest(xen, plan).run();
  xen.destroy_domain(plan.domain);
  return report;
}

}  // namespace xenblk::demo
