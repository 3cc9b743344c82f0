// The lines of a log, for a test to read while other threads still write to it.
#pragma once

#include <spdlog/sinks/base_sink.h>

#include <iterator>
#include <mutex>
#include <string>

namespace xenblk::backend {

class TextSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    text_.append(line.data(), line.size());
  }
  void flush_() override {}

  std::string text_;
};

}  // namespace xenblk::backend
