#include "vhd/block_jobs.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "vhd/block_jobs_inline.h"

namespace xenblk::vhd {
namespace {

// In flight at once. More gains nothing: a disk is busy with a few dozen.
constexpr std::size_t kJobs = 64;
// Large blocks have large bitmaps; the jobs' buffers stay below this together.
constexpr std::size_t kBuffersBytes = std::size_t{2} << 20;
constexpr std::size_t kJobsMin = 4;

// What lies before the data in a new slot: padding, and a bit for each sector of the block.
AlignedBuffer full_slot_head(const BlockShape& shape) {
  AlignedBuffer head(round_up(shape.bitmap_bytes(), kPageBytes));
  const auto bits = head.all().subspan(head.size() - shape.bitmap_bytes());
  set_bitmap_run(bits, 0, shape.block_sectors());
  return head;
}

std::uint64_t count_unallocated(const BlockMap& map) {
  std::uint64_t n = 0;
  for (std::uint64_t i = 0; i < map.block_count(); ++i) n += map.is_allocated({i}) ? 0 : 1;
  return n;
}

}  // namespace

BlockJobs::BlockJobs(const BlockJobsContext& context, Resume resume)
    : context_(context),
      resume_(resume),
      slot_head_(full_slot_head(context.leaf.shape)),
      footer_(kFooterBytes),
      jobs_(std::clamp(kBuffersBytes / context.bitmap_bytes_max, kJobsMin, kJobs)),
      buffers_(jobs_.size(), context.bitmap_bytes_max),
      joined_(jobs_.size(), slot_head_.size() + kJoinedBytesMax) {
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    jobs_[i].owner = this;
    jobs_[i].buffer = buffers_[i];
  }
}

BlockJobs::~BlockJobs() {
  assert(waiting_for_job_.empty());
  assert(std::ranges::all_of(jobs_, [](const Job& job) { return job.step == Step::idle; }));
}

void BlockJobs::allow_writing(SlotAllocator slots, const FooterBytes& footer) {
  assert(!slots_);
  slots_ = std::move(slots);
  std::ranges::copy(footer, footer_.data());
  blocks_unallocated_ = count_unallocated(context_.leaf.map);
}

bool BlockJobs::start(ImageRequest& request, const BlockWork& work) noexcept {
  Job* job = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (has(work)) return false;
    park(request);
    if (auto* other = find(work); other != nullptr) {
      other->waiters.push_back(request.task);
      return true;
    }
    job = find_idle();
    if (job == nullptr) {
      waiting_for_job_.push_back(request.task);
      return true;
    }
    job->step = Step::busy;
    job->work = work;
    job->kind = kind_for(work.need);
    job->leader = &request;
    job->status = IoStatus::okay;
  }
  begin(*job);
  return true;
}

BlockJobs::Kind BlockJobs::kind_for(BlockNeed need) const {
  switch (need) {
    case BlockNeed::bitmap:
      return Kind::load;
    case BlockNeed::place:
      return context_.differencing ? Kind::place : Kind::allocate;
    case BlockNeed::gone:
    case BlockNeed::absent:
      break;
  }
  return Kind::remove;
}

bool BlockJobs::has(const BlockWork& work) {
  switch (work.need) {
    case BlockNeed::place:
    case BlockNeed::absent:
      return work.level->map.is_allocated(work.block);
    case BlockNeed::bitmap:
      return work.level->look(work.block, {0}, {1}).presence != Presence::unknown;
    case BlockNeed::gone:
      break;
  }
  return !work.level->map.is_allocated(work.block);
}

BlockJobs::Job* BlockJobs::find(const BlockWork& work) {
  const auto it = std::ranges::find_if(jobs_, [&](const Job& job) {
    return job.step != Step::idle && job.work.level == work.level && job.work.block == work.block;
  });
  return it == jobs_.end() ? nullptr : &*it;
}

BlockJobs::Job* BlockJobs::find_idle() {
  const auto it = std::ranges::find(jobs_, Step::idle, &Job::step);
  return it == jobs_.end() ? nullptr : &*it;
}

// Whatever wakes the request then, it goes on with what these words say.
void BlockJobs::park(ImageRequest& request) {
  assert(request.in_flight == 0);
  scratch(request, Scratch::waits_for) = reinterpret_cast<std::uintptr_t>(&jobs_.front());
  scratch(request, Scratch::written_sectors) = 0;
  scratch(request, Scratch::status) = static_cast<std::uint64_t>(IoStatus::okay);
  request.task.run = [](Task& task) noexcept {
    auto& woken = request_of(task);
    reinterpret_cast<Job*>(scratch(woken, Scratch::waits_for))->owner->go_on(woken);
  };
}

void BlockJobs::wake(TaskList& waiting) {
  while (!waiting.empty()) {
    auto& task = waiting.front();
    waiting.pop_front();
    request_of(task).engine->post(task);
  }
}

void BlockJobs::go_on(ImageRequest& request) {
  request.sectors_planned += scratch(request, Scratch::written_sectors);
  resume_(request, static_cast<IoStatus>(scratch(request, Scratch::status)));
}

void BlockJobs::begin(Job& job) {
  switch (job.kind) {
    case Kind::allocate:
    case Kind::place:
      return take_slot(job);
    case Kind::load:
      return load_bitmap(job);
    case Kind::remove:
      return remove(job);
  }
}

// Under the lock. The job is over; its leader only has to be told, by go_on() on its thread.
void BlockJobs::settle(Job& job, IoStatus status) {
  assert(job.step != Step::idle);
  auto& leader = *job.leader;
  const bool moves_on = job.kind == Kind::allocate || job.kind == Kind::remove;
  const bool written = moves_on && status == IoStatus::okay;
  park(leader);
  scratch(leader, Scratch::written_sectors) = written ? job.work.part.n : 0;
  scratch(leader, Scratch::status) = static_cast<std::uint64_t>(status);
  job.step = Step::idle;
  job.outdated = false;
  job.leader = nullptr;
  wake(job.waiters);
  wake(waiting_for_job_);
}

// On the leader's thread, not inside start().
void BlockJobs::finish_job(Job& job, IoStatus status) {
  auto& leader = *job.leader;
  {
    const std::lock_guard lock(mutex_);
    settle(job, status);
  }
  go_on(leader);
}

void BlockJobs::finish_job_later(Job& job, IoStatus status) {
  const std::lock_guard lock(mutex_);
  auto& leader = *job.leader;
  settle(job, status);
  leader.engine->post(leader.task);
}

}  // namespace xenblk::vhd
