// A worker that connects queues when a test lets it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "ringio/worker.h"

namespace xenblk::control {

// Shared by the workers that it has made. Any thread.
class ConnectGate {
 public:
  void close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  void open() {
    const std::scoped_lock lock(mutex_);
    closed_ = false;
    for (auto& pass : std::exchange(waiting_, {})) pass();
  }
  void pass(std::function<void()> connect) {
    const std::scoped_lock lock(mutex_);
    if (!closed_) return connect();
    waiting_.push_back(std::move(connect));
  }
  std::size_t waiting() const {
    const std::scoped_lock lock(mutex_);
    return waiting_.size();
  }

 private:
  mutable std::mutex mutex_;
  bool closed_ = false;
  std::vector<std::function<void()>> waiting_;
};

class HoldingWorker final : public ringio::Worker {
 public:
  HoldingWorker(std::unique_ptr<ringio::Worker> worker, std::shared_ptr<ConnectGate> gate)
      : worker_(std::move(worker)), gate_(std::move(gate)) {}

  void connect(ringio::QueueSetup setup, ConnectDone done) override {
    const auto held = std::make_shared<ringio::QueueSetup>(std::move(setup));
    gate_->pass([this, held, done = std::move(done)]() mutable {
      worker_->connect(std::move(*held), std::move(done));
    });
  }
  void disconnect(ringio::QueueId queue, DisconnectDone done) override {
    worker_->disconnect(queue, std::move(done));
  }
  void detach(ringio::QueueId queue, DisconnectDone done) override {
    worker_->detach(queue, std::move(done));
  }
  void set_capacity(ringio::QueueId queue, SectorCount capacity,
                    std::function<void()> done) override {
    worker_->set_capacity(queue, capacity, std::move(done));
  }
  void set_image(ringio::QueueId queue, std::shared_ptr<Image> image,
                 std::function<void()> done) override {
    worker_->set_image(queue, std::move(image), std::move(done));
  }
  void age_grants(ringio::QueueId queue) override { worker_->age_grants(queue); }
  void pause(ringio::QueueId queue, std::function<void()> done) override {
    worker_->pause(queue, std::move(done));
  }
  void resume(ringio::QueueId queue) override { worker_->resume(queue); }
  void wake() override { worker_->wake(); }
  void set_polling(const ringio::PollingOptions& polling) override {
    worker_->set_polling(polling);
  }
  const ringio::WorkerCounters& counters() const override { return worker_->counters(); }

 private:
  const std::unique_ptr<ringio::Worker> worker_;
  const std::shared_ptr<ConnectGate> gate_;
};

}  // namespace xenblk::control
