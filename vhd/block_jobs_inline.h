// How a job's next step gets to its leader's thread. Only for the files that implement BlockJobs.
#pragma once

#include <cassert>

#include "vhd/block_jobs.h"
#include "vhd/request.h"

namespace xenblk::vhd {

// What a request remembers while it waits for a block: words of its scratch. The first is the
// image's.
enum class Scratch : std::size_t { job = 1, written_sectors = 2, status = 3 };

inline std::uint64_t& scratch(ImageRequest& request, Scratch word) {
  return request.scratch[static_cast<std::size_t>(word)];
}

// Goes on with `step` on the leader's thread, soon.
template <BlockJobs::JobStep step>
void BlockJobs::post(Job& job) {
  scratch(*job.leader, Scratch::job) = reinterpret_cast<std::uintptr_t>(&job);
  job.leader->task.run = [](Task& task) noexcept {
    auto& led = *reinterpret_cast<Job*>(scratch(request_of(task), Scratch::job));
    (led.owner->*step)(led);
  };
  job.leader->engine->post(job.leader->task);
}

// On the leader's thread, which has kept its pieces free.
template <BlockJobs::JobDone done>
void BlockJobs::submit(Job& job, IoKind kind, ByteRange range, std::byte* buffer) {
  auto& pieces = job.leader->pieces;
  auto& piece = pieces[0].request == nullptr ? pieces[0] : pieces[1];
  assert(piece.request == nullptr);
  piece.request = job.leader;
  piece.tag = reinterpret_cast<std::uintptr_t>(&job);
  piece.kind = kind;
  piece.file = &context_.file;
  piece.offset = range.start;
  piece.buffer = buffer;
  piece.bytes = range.bytes;
  piece.done = [](IoOp& op) noexcept {
    auto& finished = static_cast<ImageRequest::Piece&>(op);
    auto& led = *reinterpret_cast<Job*>(finished.tag);
    finished.request = nullptr;
    (led.owner->*done)(led, finished.result);
  };
  job.leader->engine->submit(piece);
}

}  // namespace xenblk::vhd
