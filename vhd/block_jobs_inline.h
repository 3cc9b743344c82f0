// How a job's next step gets to its leader's thread. Only for the files that implement BlockJobs.
#pragma once

#include <algorithm>
#include <cassert>

#include "vhd/block_jobs.h"
#include "vhd/request.h"

namespace xenblk::vhd {

// Goes on with `step` on the leader's thread, soon.
template <BlockJobs::JobStep step>
void BlockJobs::post(Job& job) {
  scratch(*job.leader, Scratch::waits_for) = reinterpret_cast<std::uintptr_t>(&job);
  job.leader->task.run = [](Task& task) noexcept {
    auto& led = *reinterpret_cast<Job*>(scratch(request_of(task), Scratch::waits_for));
    (led.owner->*step)(led);
  };
  job.leader->engine->post(job.leader->task);
}

// On the leader's thread, which has kept its pieces free.
template <BlockJobs::JobDone done>
void BlockJobs::submit(Job& job, IoKind kind, ByteRange range, std::byte* buffer) {
  auto& pieces = job.leader->pieces;
  const auto free = std::ranges::find(pieces, nullptr, &ImageRequest::Piece::request);
  assert(free != pieces.end());
  auto& piece = *free;
  piece.request = job.leader;
  piece.tag = reinterpret_cast<std::uintptr_t>(&job);
  piece.kind = kind;
  piece.file = &job.work.level->file;
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
