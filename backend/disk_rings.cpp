#include "backend/disk_rings.h"

#include <cassert>
#include <utility>

namespace xenblk::backend {

void DiskRings::connect(const negotiation::Session& session, const RingPlan& plan,
                        ConnectDone done) {
  assert(connected_.empty() && awaited_ == 0);
  outcome_ = {};
  persistent_grants_ = plan.persistent_grants;
  counters_.clear();
  connect_done_ = std::move(done);
  awaited_ = session.queues.size();
  for (std::size_t index = 0; index < session.queues.size(); ++index) {
    connect_one(session, plan, index);
  }
}

void DiskRings::connect_one(const negotiation::Session& session, const RingPlan& plan,
                            std::size_t index) {
  auto& worker = pool_.take();
  counters_.push_back(std::make_shared<ringio::QueueCounters>());
  ringio::QueueSetup setup{.peer = plan.peer,
                           .device = plan.device,
                           .layout = session.layout,
                           .ring_refs = session.queues[index].ring_refs,
                           .remote_port = session.queues[index].port,
                           .image = plan.image,
                           .access = plan.access,
                           .logical_sector_bytes = plan.logical_sector_bytes,
                           .offer_discard = plan.offer_discard,
                           .persistent_grants = plan.persistent_grants,
                           .indirect_segments_max = plan.indirect_segments_max,
                           .journal = plan.journal(index),
                           .counters = counters_.back(),
                           .limiter = plan.limiter,
                           .guest_limiter = plan.guest_limiter,
                           .slow = plan.slow,
                           .storage = {.policy = plan.policy,
                                       .refuses = plan.refuses,
                                       .tell =
                                           [notice = plan.storage_notice, index](const auto& told) {
                                             if (notice) notice(index, told);
                                           }},
                           .notice = [notice = plan.notice, index](const auto& told) {
                             if (notice) notice(index, told);
                           }};
  worker.connect(std::move(setup), [this, &worker](Expected<ringio::QueueId> result) {
    loop_.post([this, &worker, result = std::move(result)] { connect_result(worker, result); });
  });
}

void DiskRings::connect_result(ringio::Worker& worker, Expected<ringio::QueueId> result) {
  assert(awaited_ > 0);
  if (result) {
    connected_.push_back({&worker, *result});
  } else if (outcome_) {
    outcome_ = std::unexpected(std::move(result.error()));
  }
  if (--awaited_ == 0) all_answered();
}

void DiskRings::all_answered() {
  const auto tell = [this] { std::exchange(connect_done_, {})(outcome_); };
  if (outcome_ || connected_.empty()) return tell();
  disconnect(tell);
}

void DiskRings::set_capacity(SectorCount capacity, const std::function<void()>& done) {
  ask_all([capacity](auto& worker, auto id, auto told) { worker.set_capacity(id, capacity, told); },
          done);
}

void DiskRings::set_image(const std::shared_ptr<Image>& image, const std::function<void()>& done) {
  ask_all([image](auto& worker, auto id, auto told) { worker.set_image(id, image, told); }, done);
}

void DiskRings::pause(const std::function<void()>& done) {
  ask_all([](auto& worker, auto id, auto told) { worker.pause(id, told); }, done);
}

void DiskRings::resume() {
  for (const auto& queue : connected_) queue.worker->resume(queue.id);
}

void DiskRings::wake() {
  for (const auto& queue : connected_) queue.worker->wake();
}

void DiskRings::ask_all(const Ask& ask, const std::function<void()>& done) {
  // Independent of this object, which may have gone when the last one answers.
  const auto left = std::make_shared<std::size_t>(connected_.size());
  for (const auto& queue : connected_) {
    ask(*queue.worker, queue.id, [&loop = loop_, left, done] {
      loop.post([left, done] {
        if (--*left == 0) done();
      });
    });
  }
}

void DiskRings::age_grants() {
  if (!persistent_grants_) return;
  for (const auto& queue : connected_) queue.worker->age_grants(queue.id);
}

void DiskRings::disconnect(DisconnectDone done) {
  release(&ringio::Worker::disconnect, std::move(done));
}

void DiskRings::detach(DisconnectDone done) {
  release(&ringio::Worker::detach, std::move(done));
}

void DiskRings::release(Release how, DisconnectDone done) {
  assert(awaited_ == 0 && !connected_.empty());
  awaited_ = connected_.size();
  const auto one_gone = [this, done = std::move(done)] {
    if (--awaited_ > 0) return;
    connected_.clear();
    done();
  };
  for (const auto& queue : connected_) {
    (queue.worker->*how)(queue.id, [this, one_gone] { loop_.post(one_gone); });
  }
}

}  // namespace xenblk::backend
