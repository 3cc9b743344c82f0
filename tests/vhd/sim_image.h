// Images on simulated disks, for operations that work on several of them at once.
#pragma once

#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/flat_image.h"
#include "vhd/open_vhd.h"

namespace xenblk::test {

// One disk and the image on it, with an engine that does its operations in any order.
class SimImage {
 public:
  explicit SimImage(std::uint64_t seed) : disk(seed), engine(disk) {}

  void make_raw(std::uint64_t sectors) {
    ASSERT_TRUE(file().truncate(sectors * kSectorBytes));
    open_raw();
  }
  void make_vhd(const vhd::CreateOptions& options) {
    auto target = file();
    ASSERT_TRUE(vhd::create_vhd(target, options));
    open_vhd();
  }
  void open_raw(Access access = Access::read_write) {
    image = vhd::open_raw_image(std::make_unique<SimFile>(disk, access), 512).value();
  }
  void open_vhd(Access access = Access::read_write) {
    image = vhd::open_vhd_image(std::make_unique<SimFile>(disk, access), 512).value();
  }

  void write(std::uint64_t first, const Bytes& data) {
    ASSERT_EQ(BlockingDisk(*image, engine).write(first, data), IoStatus::okay);
  }
  Bytes content() {
    const auto sectors = image->info().capacity.n;
    auto read = BlockingDisk(*image, engine).read(0, sectors);
    EXPECT_EQ(read.status, IoStatus::okay);
    return read.data;
  }
  // What of the file is not a hole.
  std::uint64_t stored_pages() const { return disk.content().data_pages(); }

  SimDisk disk;
  SimEngine engine;
  std::unique_ptr<Image> image;

 private:
  SimFile file() { return {disk, Access::read_write}; }
};

// Hands each operation to the disk that it is for.
class SimEngines final : public TestEngine {
 public:
  void add(SimImage& image) { images_.push_back(&image); }
  void submit(IoOp& op) noexcept override {
    for (auto* one : images_) {
      if (static_cast<SimFile*>(op.file)->is_on(one->disk)) return one->engine.submit(op);
    }
    ADD_FAILURE() << "an operation on an unknown disk";
  }
  bool poll() override {
    bool any = run_tasks();
    for (auto* one : images_) any = one->engine.poll() || any;
    return any;
  }

 private:
  std::vector<SimImage*> images_;
};

}  // namespace xenblk::test
