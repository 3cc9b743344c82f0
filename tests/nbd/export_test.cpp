// An export as its clients see it, the hostile ones among them.
#include "nbd/export.h"

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "tests/nbd/client.h"
#include "tests/nbd/held_image.h"
#include "tests/vhd/temp_dir.h"

namespace xenblk::test {
namespace {

using nbd::CommandType;
using nbd::NbdError;
using Reply = std::pair<std::uint64_t, NbdError>;

class ExportTest : public ::testing::Test {
 protected:
  void TearDown() override {
    image_->answer_all_from_now_on();
    if (export_) export_->stop();
  }
  void SetUp() override {
    auto thread = nbd::ExportThread::start();
    ASSERT_TRUE(thread) << describe(thread.error());
    thread_ = std::move(*thread);
  }
  void serve(nbd::ExportOptions options = {}) {
    auto started = nbd::Export::start(*thread_, image_, path_, std::move(options));
    ASSERT_TRUE(started) << describe(started.error());
    export_ = std::move(*started);
  }
  Client& agreed(bool structured) {
    auto& client = *clients_.emplace_back(std::make_unique<Client>(path_));
    client.agree(structured);
    return client;
  }

  TempDir dir_;
  std::string path_ = dir_.path("socket");
  std::shared_ptr<HeldImage> image_ = std::make_shared<HeldImage>(SectorCount{8 << 20 >> 9});
  std::unique_ptr<nbd::ExportThread> thread_;
  std::unique_ptr<nbd::Export> export_;
  std::vector<std::unique_ptr<Client>> clients_;
};

TEST_F(ExportTest, WhatIsWrittenIsReadOnAnotherConnection) {
  serve();
  image_->answer_all_from_now_on();
  auto& one = agreed(false);
  one.send(request({CommandType::write, 1024, 1024, nbd::kFua}).fill(1024, 0x5a));
  EXPECT_EQ(one.simple_reply(), Reply(1, NbdError::none));
  EXPECT_EQ(image_->seen(), (std::vector{ImageOp::write, ImageOp::flush}));
  auto& other = agreed(true);
  other.send(request({CommandType::read, 512, 1024, 0, 9}));
  const auto chunk = other.chunk();
  EXPECT_EQ(chunk.cookie, 9U);
  EXPECT_EQ(chunk.flags, nbd::kChunkDone);
  EXPECT_EQ(chunk.payload, Wire().put(std::uint64_t{512}).fill(512, 0).fill(512, 0x5a).bytes());
}

TEST_F(ExportTest, RepliesComeInTheOrderOfTheImage) {
  serve();
  auto& client = agreed(false);
  for (std::uint64_t cookie = 1; cookie <= 3; ++cookie) {
    client.send(request({CommandType::trim, 0, 512, 0, cookie}));
    image_->wait_until_held(cookie);
  }
  for (std::uint64_t cookie = 3; cookie >= 1; --cookie) {
    image_->answer_last();
    EXPECT_EQ(client.simple_reply(), Reply(cookie, NbdError::none));
  }
}

TEST_F(ExportTest, LargeRequestsNeedNoMoreMemoryThanSmallOnes) {
  image_ = std::make_shared<HeldImage>(SectorCount{32 << 20 >> 9});
  serve();
  image_->answer_all_from_now_on();
  constexpr std::uint32_t kBytes = 32U << 20;
  auto& simple = agreed(false);
  simple.send(request({CommandType::write, 0, kBytes}).fill(kBytes, 0x11));
  EXPECT_EQ(simple.simple_reply(), Reply(1, NbdError::none));
  simple.send(request({CommandType::read, 0, kBytes, 0, 2}));
  simple.send(request({CommandType::flush, 0, 0, 0, 3}));
  EXPECT_EQ(simple.simple_reply(), Reply(2, NbdError::none));
  EXPECT_EQ(simple.receive(kBytes), Wire().fill(kBytes, 0x11).bytes());
  EXPECT_EQ(simple.simple_reply(), Reply(3, NbdError::none));
  auto& structured = agreed(true);
  structured.send(request({CommandType::read, 0, kBytes}));
  std::uint64_t bytes = 0;
  Client::Chunk chunk;
  do {
    chunk = structured.chunk();
    ASSERT_EQ(chunk.type, static_cast<std::uint16_t>(nbd::ChunkType::offset_data));
    bytes += chunk.payload.size() - 8;
  } while (chunk.flags != nbd::kChunkDone);
  EXPECT_EQ(bytes, kBytes);
}

TEST_F(ExportTest, AReadThatFailsInTheMiddleIsToldAsTheProtocolCan) {
  image_->bad_sector = {(2 << 20) / kSectorBytes};
  serve();
  image_->answer_all_from_now_on();
  auto& structured = agreed(true);
  structured.send(request({CommandType::read, 0, 4 << 20}));
  Client::Chunk chunk;
  do {
    chunk = structured.chunk();
  } while (chunk.type == static_cast<std::uint16_t>(nbd::ChunkType::offset_data));
  EXPECT_EQ(chunk.flags, nbd::kChunkDone);
  EXPECT_EQ(chunk.payload, Wire().put(NbdError::io).put(std::uint16_t{0}).bytes());
  // A simple reply cannot take back that it has begun well.
  auto& simple = agreed(false);
  simple.send(request({CommandType::read, 0, 4 << 20}));
  EXPECT_EQ(simple.simple_reply(), Reply(1, NbdError::none));
  EXPECT_EQ(simple.receive(4 << 20).size(), std::size_t{2} << 20);
  // One that fails at once is told, and the connection goes on.
  auto& small = agreed(false);
  small.send(request({CommandType::read, 2 << 20, 512, 0, 5}));
  EXPECT_EQ(small.simple_reply(), Reply(5, NbdError::io));
  small.send(request({CommandType::write, 0, 4 << 20, 0, 6}).fill(4 << 20, 1));
  EXPECT_EQ(small.simple_reply(), Reply(6, NbdError::io));
  small.send(request({CommandType::flush, 0, 0, 0, 7}));
  EXPECT_EQ(small.simple_reply(), Reply(7, NbdError::none));
}

TEST_F(ExportTest, TheDataOfARefusedWriteAreSkipped) {
  serve({.read_only = true});
  auto& client = agreed(false);
  client.send(request({CommandType::write, 0, 300000, 0, 4}).fill(300000, 0x25));
  client.send(request({CommandType::write, 3, 5, 0, 5}).fill(5, 0x25));
  EXPECT_EQ(client.simple_reply(), Reply(4, NbdError::not_permitted));
  EXPECT_EQ(client.simple_reply(), Reply(5, NbdError::not_permitted));
  EXPECT_EQ(image_->seen(), std::vector<ImageOp>{});
}

TEST_F(ExportTest, ZeroesThatTakeSpaceAreWritten) {
  serve();
  image_->answer_all_from_now_on();
  auto& client = agreed(false);
  client.send(request({CommandType::write_zeroes, 0, 300 << 10, nbd::kNoHole, 1}));
  EXPECT_EQ(client.simple_reply(), Reply(1, NbdError::none));
  EXPECT_EQ(image_->seen(), (std::vector{ImageOp::write, ImageOp::write}));
  client.send(request({CommandType::write_zeroes, 0, 300 << 10, 0, 2}));
  EXPECT_EQ(client.simple_reply(), Reply(2, NbdError::none));
  EXPECT_EQ(image_->seen().back(), ImageOp::write_zeroes);
}

TEST_F(ExportTest, TellsWhichPartsAreStored) {
  image_->broken_from = 4;
  serve();
  auto& client = agreed(true);
  client.send(request({CommandType::block_status, 0, 6 * 512}));
  const auto all = client.chunk();
  const auto run = [](std::uint32_t sectors, std::uint32_t state) {
    return Wire().put(sectors * 512).put(state);
  };
  EXPECT_EQ(all.payload, Wire()
                             .put(std::uint32_t{1})
                             .add(run(1, 3))
                             .add(run(1, 0))
                             .add(run(1, 3))
                             .add(run(3, 0))  // where the image cannot tell
                             .bytes());
  client.send(request({CommandType::block_status, 512, 6 * 512, nbd::kRequestOne}));
  EXPECT_EQ(client.chunk().payload, Wire().put(std::uint32_t{1}).add(run(1, 0)).bytes());
  image_->broken_from = ~std::uint64_t{0};
  client.send(request({CommandType::block_status, 0, 8 << 20}));
  // As many as fit.
  EXPECT_EQ(client.chunk().payload.size(), 4U + 4096U);
}

TEST_F(ExportTest, ClientsThatVanishLeaveNothingBehind) {
  std::promise<void> left;
  serve({.last_client_left = [&] { left.set_value(); }});
  {
    Client vanishing(path_);
    vanishing.agree(true);
    vanishing.send(request({CommandType::read, 0, 4096}));
    vanishing.send(request({CommandType::write, 0, 4096}).fill(100, 1));
    image_->wait_until_held(1);
  }
  image_->answer_all_from_now_on();
  left.get_future().wait();
  EXPECT_EQ(export_->counters().connections, 0U);
  EXPECT_EQ(image_->seen(), std::vector{ImageOp::read});
}

TEST_F(ExportTest, AClientThatDoesNotListenHoldsUpNobody) {
  serve();
  image_->answer_all_from_now_on();
  auto& deaf = agreed(true);
  for (int i = 0; i < 200; ++i) deaf.send(request({CommandType::read, 0, 1 << 20}));
  auto& other = agreed(false);
  other.send(request({CommandType::flush}));
  EXPECT_EQ(other.simple_reply(), Reply(1, NbdError::none));
  export_->stop();
}

TEST_F(ExportTest, GarbageClosesTheConnection) {
  serve();
  auto& client = agreed(false);
  client.send(request({CommandType::read, 0, 512}));
  image_->wait_until_held(1);
  client.send(Wire().fill(28, 0x47));
  EXPECT_TRUE(client.closed());
  Client stranger(path_);
  stranger.send(Wire().text("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(stranger.receive(100).size(), 18U);
}

TEST_F(ExportTest, WhoSaysGoodbyeGetsWhatItHadAskedFor) {
  serve();
  auto& client = agreed(false);
  client.send(request({CommandType::flush, 0, 0, 0, 8}).add(request({CommandType::disconnect})));
  image_->wait_until_held(1);
  image_->answer_last();
  EXPECT_EQ(client.simple_reply(), Reply(8, NbdError::none));
  EXPECT_TRUE(client.closed());
}

TEST_F(ExportTest, StoppingWaitsForTheImageAndAnswers) {
  serve();
  auto& client = agreed(false);
  client.send(request({CommandType::write, 0, 512, 0, 3}).fill(512, 1));
  image_->wait_until_held(1);
  std::thread stopper([&] { export_->stop(); });
  // The socket goes first; then the image is waited for.
  while (std::filesystem::exists(path_)) std::this_thread::yield();
  EXPECT_EQ(image_->held(), 1U);
  image_->answer_last();
  stopper.join();
  EXPECT_EQ(client.simple_reply(), Reply(3, NbdError::none));
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(export_->counters().connections, 0U);
}

TEST_F(ExportTest, ServesNoMoreClientsThanItMay) {
  serve({.connections_max = 1});
  agreed(false);
  Client second(path_);
  EXPECT_TRUE(second.closed());
}

TEST_F(ExportTest, TheSocketIsForOurUserAndNotTakenFromOthers) {
  serve();
  struct stat status = {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFSOCK | 0600U);
  const auto again = nbd::Export::start(*thread_, image_, path_, {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), (Error{Errc::refused, 0, path_ + " is in use by another server"}));
  const auto file = dir_.make_file("file", 1);
  EXPECT_EQ(nbd::Export::start(*thread_, image_, file, {}).error(),
            (Error{Errc::refused, 0, file + " exists and is no socket"}));
  EXPECT_EQ(nbd::Export::start(*thread_, image_, std::string(108, 'x'), {}).error().code,
            Errc::bad_spec);
  EXPECT_EQ(nbd::Export::start(*thread_, image_, dir_.path("no/socket"), {}).error().code,
            Errc::not_found);
}

// Who looks whether somebody listens connects too.
TEST_F(ExportTest, WhoHasSaidNothingIsNotTheLastClient) {
  std::atomic<int> left = 0;
  serve({.last_client_left = [&] { ++left; }});
  EXPECT_FALSE(nbd::Export::start(*thread_, image_, path_, {}));
  const auto& counters = export_->counters();
  while (counters.connections_total == 0 || counters.connections != 0) std::this_thread::yield();
  agreed(false).hang_up();
  while (left == 0 || counters.connections != 0) std::this_thread::yield();
  export_->stop();
  EXPECT_EQ(left, 1);
}

TEST_F(ExportTest, TheLastClientHasLeftWhenOnlySuchWereThereBesides) {
  std::promise<void> left;
  serve({.last_client_left = [&] { left.set_value(); }});
  Client silent(path_);
  EXPECT_FALSE(silent.receive(1).empty());
  agreed(false).hang_up();
  while (export_->counters().connections != 1) std::this_thread::yield();
  silent.hang_up();
  left.get_future().wait();
}

TEST_F(ExportTest, ASocketThatAKilledServerLeftIsTakenOver) {
  serve();
  std::filesystem::create_hard_link(path_, path_ + ".left");
  export_->stop();
  std::filesystem::rename(path_ + ".left", path_);
  serve();
  agreed(false);
}

}  // namespace
}  // namespace xenblk::test
