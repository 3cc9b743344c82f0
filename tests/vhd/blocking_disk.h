// A disk as a test wants it: one call, one answer. Drives the engine itself.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/vhd/test_engine.h"
#include "vhd/aligned_buffer.h"
#include "xenblk/image.h"

namespace xenblk::test {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(std::uint64_t sectors, unsigned value) {
  return Bytes(sectors * kSectorBytes, static_cast<std::byte>(value));
}

struct ReadResult {
  IoStatus status = IoStatus::okay;
  Bytes data;
};

class BlockingDisk {
 public:
  BlockingDisk(Image& image, TestEngine& engine) : image_(image), engine_(engine) {}

  IoStatus write(std::uint64_t first, const Bytes& data) {
    const vhd::AlignedBuffer buffer(data.size() + kSectorBytes);
    std::memcpy(buffer.data(), data.data(), data.size());
    return run(ImageOp::write, {first}, {data.size() / kSectorBytes}, buffer.data());
  }

  // The buffer is poisoned first, so that sectors which the image forgot are seen.
  ReadResult read(std::uint64_t first, std::uint64_t count) {
    const vhd::AlignedBuffer buffer(count * kSectorBytes + kSectorBytes);
    std::memset(buffer.data(), 0xa5, buffer.size());
    const auto status = run(ImageOp::read, {first}, {count}, buffer.data());
    const auto data = buffer.first(count * kSectorBytes);
    return {status, Bytes(data.begin(), data.end())};
  }

  IoStatus flush() { return run(ImageOp::flush, {}, {}, nullptr); }

  IoStatus run(ImageOp op, SectorIndex first, SectorCount count, std::byte* data) {
    struct Request : ImageRequest {
      int answers = 0;
    } request;
    request.op = op;
    request.first = first;
    request.count = count;
    request.data = data;
    request.engine = &engine_;
    request.done = [](ImageRequest& r) noexcept { ++static_cast<Request&>(r).answers; };
    image_.submit(request);
    EXPECT_EQ(request.answers, 0) << "answered inside submit";
    while (request.answers == 0) {
      if (!engine_.poll()) break;
    }
    EXPECT_EQ(request.answers, 1) << "not answered";
    return request.status;
  }

  Image& image() { return image_; }

 private:
  Image& image_;
  TestEngine& engine_;
};

}  // namespace xenblk::test
