#include "bench/load/limit.h"

#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "bench/load/cpu_time.h"
#include "ringio/buffer_pool.h"
#include "ringio/uring_engine.h"
#include "vhd/host_file.h"
#include "vhd/image_spec.h"

namespace xenblk::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;

// One disk's load on one thread.
class Runner {
 public:
  Runner(File& file, const Load& load, SectorCount capacity, std::uint64_t seed)
      : file_(file), load_(load), sequence_(load, capacity, seed), ops_(load.depth) {}

  Expected<Measurement> run(Time end) {
    const std::size_t block = (load_.block_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    auto arena = ringio::Arena::make(load_.depth * block);
    if (!arena) return std::unexpected(arena.error());
    auto engine = ringio::UringEngine::make({.fixed_memory = arena->memory()});
    if (!engine) return std::unexpected(engine.error());
    engine_ = engine->get();
    end_ = end;
    for (std::size_t n = 0; n < ops_.size(); ++n) {
      ops_[n].runner = this;
      ops_[n].buffer = arena->memory().data() + (n * block);
      start(ops_[n], std::chrono::steady_clock::now());
    }
    auto finished_at = std::chrono::steady_clock::now();
    while (in_flight_ > 0) {
      const auto before = seen_.operations;
      const auto now = std::chrono::steady_clock::now();
      engine_->turn(now - finished_at < load_.polling ? ringio::LoopEngine::kNoWait
                                                      : ringio::LoopEngine::kForever);
      if (seen_.operations != before) finished_at = now;
    }
    return seen_;
  }

 private:
  struct Operation : IoOp {
    Runner* runner = nullptr;
    Time started;
  };

  void start(Operation& op, Time now) {
    const auto next = sequence_.next();
    op.kind = next.write ? IoKind::write : IoKind::read;
    op.file = &file_;
    op.offset = next.first.n * kSectorBytes;
    op.bytes = load_.block_bytes;
    op.started = now;
    op.done = [](IoOp& done) noexcept {
      auto& operation = static_cast<Operation&>(done);
      operation.runner->finish(operation);
    };
    ++in_flight_;
    engine_->submit(op);
  }

  void finish(Operation& op) {
    const auto now = std::chrono::steady_clock::now();
    --in_flight_;
    ++seen_.operations;
    seen_.bytes += load_.block_bytes;
    seen_.errors += op.result == static_cast<std::int64_t>(load_.block_bytes) ? 0 : 1;
    seen_.latency.add(static_cast<std::uint64_t>((now - op.started).count()));
    if (now < end_) start(op, now);
  }

  File& file_;
  const Load& load_;
  Sequence sequence_;
  std::vector<Operation> ops_;
  ringio::UringEngine* engine_ = nullptr;
  Time end_;
  std::uint32_t in_flight_ = 0;
  Measurement seen_;
};

Expected<Measurement> run_all(File& file, const Load& load, SectorCount capacity,
                              std::chrono::nanoseconds duration) {
  const auto started = std::chrono::steady_clock::now();
  const auto cpu_before = process_cpu();
  std::vector<std::future<Expected<Measurement>>> runs;
  for (std::uint32_t n = 0; n < load.disks; ++n) {
    runs.push_back(std::async(std::launch::async, [&, n] {
      return Runner(file, load, capacity, n + 1).run(started + duration);
    }));
  }
  Measurement all;
  std::vector<Expected<Measurement>> results;
  for (auto& run : runs) results.push_back(run.get());
  all.elapsed = std::chrono::steady_clock::now() - started;
  all.backend_cpu = process_cpu() - cpu_before;
  for (const auto& result : results) {
    if (!result) return result;
    all.operations += result->operations;
    all.bytes += result->bytes;
    all.errors += result->errors;
    all.latency.add(result->latency);
  }
  return all;
}

}  // namespace

Expected<Measurement> measure_limit(const DataPath& path) {
  const auto spec = vhd::parse_image_spec(path.image);
  if (!spec) return std::unexpected(spec.error());
  if (spec->format != vhd::Format::raw) return fail(Errc::bad_spec, "only raw images have a limit");
  const auto access = writes(path.load.pattern) ? Access::read_write : Access::read_only;
  auto file = vhd::open_host_file(spec->path, {.access = access});
  if (!file) return std::unexpected(file.error());
  const auto bytes = (*file)->size_bytes();
  if (!bytes) return std::unexpected(bytes.error());
  if (path.load.block_bytes == 0 || path.load.block_bytes % kSectorBytes != 0 ||
      *bytes < path.load.block_bytes || path.load.depth == 0) {
    return fail(Errc::bad_spec, "block size or depth");
  }
  const SectorCount capacity{*bytes / kSectorBytes};
  if (path.warm_up.count() > 0) {
    if (auto warm = run_all(**file, path.load, capacity, path.warm_up); !warm) return warm;
  }
  return run_all(**file, path.load, capacity, path.load.duration);
}

}  // namespace xenblk::bench
