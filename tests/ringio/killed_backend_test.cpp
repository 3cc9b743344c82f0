// A backend in a process of its own, with the real io_uring and image files, that is killed with
// SIGKILL while a guest in this process keeps its rings full and checks every answer. The next one
// takes over the same rings. XENBLK_KILLS=1000 makes it as many kills as that, XENBLK_SEED others.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <numeric>
#include <set>
#include <tuple>

#include "ringio/buffer_pool.h"
#include "ringio/uring_engine.h"
#include "ringio/worker_core.h"
#include "tests/ringio/checked_guest.h"
#include "tests/rounds.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"
#include "vhd/image_registry.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::ringio::test {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

enum class Storage : std::uint8_t { raw, vhd, chain };

struct Setting {
  CheckedGuestOptions guest;
  Storage storage;
  bool persistent;
};

// Every combination has its number.
Setting setting_of(std::uint64_t n) {
  const auto pick = [&n](std::uint64_t count) {
    const auto picked = n % count;
    n /= count;
    return picked;
  };
  constexpr std::array layouts{blkif::Layout::native, blkif::Layout::x86_32, blkif::Layout::x86_64};
  Setting setting;
  setting.storage = static_cast<Storage>(pick(3));
  setting.guest.ring_pages = 1U << pick(5);
  setting.guest.queues = static_cast<std::uint32_t>(1 + pick(4));
  setting.guest.layout = layouts[pick(3)];
  setting.persistent = pick(2) == 1;
  return setting;
}
constexpr std::uint64_t kSettings = 3 * 5 * 4 * 3 * 2;

// Which setting each guest's life has, and how many backends it lives through, so that a thousand
// kills meet every setting twice.
struct Lives {
  std::uint64_t kills;
  std::uint64_t seed;

  std::uint64_t setting(std::uint64_t life) const {
    // A step that has no factor in common with their number visits all of them.
    static_assert(std::gcd(kSettings, 77U) == 1);
    return (seed + life * 77) % kSettings;
  }
  std::uint64_t kills_of_each() const {
    return std::clamp(kills / kSettings, std::uint64_t{2}, std::uint64_t{5});
  }
};

// What the backends tell the test; shared memory.
struct Reports {
  std::atomic<std::uint32_t> ready = 0;
  std::atomic<std::uint32_t> lock_waits = 0;  // times the image was still locked by the dead
};

class MonotonicClock final : public Clock {
 public:
  Instant now() const noexcept override {
    timespec now = {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return {static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
            static_cast<std::uint64_t>(now.tv_nsec)};
  }
};

[[noreturn]] void die(const std::string& why) {
  const auto text = "backend: " + why + "\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(1);
}

class KilledBackend : public testing::Test {
 protected:
  KilledBackend() {
    void* const memory =
        ::mmap(nullptr, sizeof(Reports), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    reports_ = new (memory) Reports;
  }
  ~KilledBackend() override {
    kill_backend();
    ::munmap(reports_, sizeof(Reports));
  }

  // One guest's life over so many backends.
  void live(std::uint64_t number, std::uint64_t seed, std::uint64_t kills) {
    SCOPED_TRACE("setting " + std::to_string(number) + ", seed " + std::to_string(seed));
    xenblk::test::TempDir directory;
    loopback::LoopbackXen xen;
    setting_ = setting_of(number);
    CheckedGuest guest(xen, setting_.guest, seed);
    make_image(directory);
    bool take_over = false;
    for (std::uint64_t i = 0; i < kills && !HasFailure(); ++i) {
      if (setting_.storage == Storage::chain && i == kills / 2)
        grow_chain(directory, xen, guest, take_over);
      start_backend(directory, xen, guest, take_over);
      serve_some(guest);
      kill_backend();
      take_over = true;
      ++kills_;
    }
    settle(directory, xen, guest, take_over);
    verified_ += guest.verified_cells();
    for (std::size_t op = 0; op < answered_.size(); ++op) answered_[op] += guest.answered()[op];
  }

  void make_image(const xenblk::test::TempDir& directory) {
    constexpr std::uint32_t kBlockBytes = 64U << 10;
    if (setting_.storage == Storage::raw) {
      image_ = "raw:" + directory.make_file("disk", CheckedGuest::kSectors * kSectorBytes);
      return;
    }
    image_ = "vhd:" + directory.path("disk");
    const auto made = vhd::create_vhd_file(
        directory.path("disk"), {.capacity = {CheckedGuest::kSectors}, .block_bytes = kBlockBytes});
    ASSERT_TRUE(made.has_value()) << describe(made.error());
  }

  // The disk gets a child, as an administrator does with a guest that is at rest.
  void grow_chain(const xenblk::test::TempDir& directory, loopback::LoopbackXen& xen,
                  CheckedGuest& guest, bool take_over) {
    start_backend(directory, xen, guest, take_over);
    answer_all(guest);
    kill_backend();
    const auto made =
        vhd::make_snapshot({directory.path("disk"), directory.path("child"), {}}, vhd::Format::vhd);
    ASSERT_TRUE(made.has_value()) << describe(made.error());
    image_ = "vhd:" + directory.path("child");
  }

  void serve_some(CheckedGuest& guest) {
    const Deadline deadline;
    std::uint64_t wanted = guest.below(300);
    // Now and then the moment in which it starts.
    if (guest.below(10) == 0) wanted = 0;
    for (std::uint64_t answers = 0; answers < wanted && !HasFailure();) {
      answers += guest.move();
      ASSERT_TRUE(still_right(deadline));
    }
    static_cast<void>(guest.move());
    const auto moment = guest.below(20'000);
    for (std::uint64_t i = 0; i < moment; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
  }

  void answer_all(CheckedGuest& guest) {
    const Deadline deadline;
    while (guest.outstanding() != 0 && !HasFailure()) {
      static_cast<void>(guest.take());
      ASSERT_TRUE(still_right(deadline));
    }
  }

  // All is answered, and all of the disk is as the guest knows it, read by one more backend.
  void settle(const xenblk::test::TempDir& directory, loopback::LoopbackXen& xen,
              CheckedGuest& guest, bool take_over) {
    start_backend(directory, xen, guest, take_over);
    answer_all(guest);
    kill_backend();
    start_backend(directory, xen, guest, true);
    while (!guest.ask_for_all() && !HasFailure()) static_cast<void>(guest.take());
    answer_all(guest);
    kill_backend();
  }

  class Deadline {
   public:
    bool over() const { return std::time(nullptr) > end_; }

   private:
    std::time_t end_ = std::time(nullptr) + 60;
  };
  bool still_right(const Deadline& deadline) {
    int status = 0;
    if (::waitpid(backend_, &status, WNOHANG) == backend_) {
      backend_ = -1;
      ADD_FAILURE() << "the backend has died, with status " << status;
      return false;
    }
    if (deadline.over()) ADD_FAILURE() << "no answer for a minute";
    return !deadline.over();
  }

  void start_backend(const xenblk::test::TempDir& directory, loopback::LoopbackXen& xen,
                     CheckedGuest& guest, bool take_over) {
    ASSERT_EQ(backend_, -1);
    backend_ = ::fork();
    if (backend_ == 0) serve(directory, xen, guest, take_over);
    ASSERT_GT(backend_, 0);
  }
  void kill_backend() {
    if (backend_ <= 0) return;
    ::kill(backend_, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(backend_, &status, 0), backend_);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the backend has ended by itself: " << status;
    backend_ = -1;
  }

  // --- the backend's process ---
  std::shared_ptr<Image> open_image(vhd::ImageRegistry& registry) {
    const auto spec = *vhd::parse_image_spec(image_);
    for (;;) {
      auto image = registry.open(spec, Access::read_write);
      if (image) return *image;
      if (image.error().code != Errc::locked) die(describe(image.error()));
      ++reports_->lock_waits;
      ::usleep(100);
    }
  }

  QueueSetup setup_of(const xenblk::test::TempDir& directory, const GuestQueue& queue,
                      std::size_t index, std::shared_ptr<Image> image, bool take_over) {
    auto setup = queue.setup(std::move(image));
    setup.indirect_segments_max = setting_.guest.indirect_segments;
    setup.persistent_grants = setting_.persistent;
    setup.journal = JournalPlace{.path = directory.path("queue-" + std::to_string(index)),
                                 .take_over = take_over};
    auto& identity = setup.journal->identity;
    identity = {.domain = setup.peer.n,
                .queue = static_cast<std::uint32_t>(index),
                .layout = static_cast<std::uint32_t>(setup.layout),
                .port = setup.remote_port.n,
                .ring_pages = setting_.guest.ring_pages};
    for (std::size_t i = 0; i < setup.ring_refs.size(); ++i) {
      identity.ring_refs[i] = setup.ring_refs[i].n;
    }
    return setup;
  }

  [[noreturn]] void serve(const xenblk::test::TempDir& directory, loopback::LoopbackXen& xen,
                          CheckedGuest& guest, bool take_over) {
    const auto channels = *xen.host().open_event_channels();
    const auto grants = *xen.host().open_grant_table();
    const MonotonicClock clock;
    const auto arena = *Arena::make(std::size_t{4} << 20);
    auto engine = UringEngine::make({.submission_entries = 64, .fixed_memory = arena.memory()});
    if (!engine) die(describe(engine.error()));
    vhd::ImageRegistry registry;
    const auto image = open_image(registry);
    WorkerCore core({.engine = **engine,
                     .channels = *channels,
                     .grants = *grants,
                     .clock = clock,
                     .arena = arena.memory(),
                     .request_slots = 64});
    for (std::size_t i = 0; i < guest.queues().size(); ++i) {
      const auto id = core.connect(setup_of(directory, *guest.queues()[i], i, image, take_over));
      // Whoever was killed before it had connected the last queue has left no journal of it.
      const bool none = !id && id.error().text.ends_with("left no journal");
      if (none) {
        const auto fresh = core.connect(setup_of(directory, *guest.queues()[i], i, image, false));
        if (!fresh) die(describe(fresh.error()));
      } else if (!id) {
        die(describe(id.error()));
      }
    }
    reports_->ready = 1;
    // Events do not cross from the guest's process: its kicks are made here when its index moves.
    std::vector<std::uint32_t> seen(guest.queues().size(), 0);
    for (;;) {
      for (std::size_t i = 0; i < seen.size(); ++i) {
        const auto now = guest.queues()[i]->ring.load_index(blkif::RingOffsets::req_prod);
        if (now != std::exchange(seen[i], now)) guest.queues()[i]->port->notify();
      }
      core.events_signalled();
      core.pass(std::chrono::microseconds(20));
    }
  }

  Setting setting_;
  std::string image_;
  Reports* reports_;
  pid_t backend_ = -1;
  std::uint64_t kills_ = 0, verified_ = 0;
  std::array<std::uint64_t, 6> answered_ = {};
};

TEST(KilledBackendLives, AThousandKillsMeetEverySettingTwice) {
  std::set<std::tuple<Storage, std::uint32_t, std::uint32_t, blkif::Layout, bool>> different;
  for (std::uint64_t n = 0; n < kSettings; ++n) {
    const auto [guest, storage, persistent] = setting_of(n);
    different.emplace(storage, guest.ring_pages, guest.queues, guest.layout, persistent);
  }
  EXPECT_EQ(different.size(), kSettings);
  for (const std::uint64_t seed : {1U, 7U, 359U, 4'000'000'000U}) {
    const Lives lives{.kills = 1000, .seed = seed};
    std::array<std::uint64_t, kSettings> met = {};
    std::uint64_t kills = 0;
    for (std::uint64_t life = 0; kills < lives.kills; ++life) {
      met.at(lives.setting(life)) += lives.kills_of_each();
      kills += lives.kills_of_each();
    }
    EXPECT_GE(std::ranges::min(met), 2U) << seed;
  }
}

TEST_F(KilledBackend, LosesNothingAndAnswersEachRequestOnce) {
  const auto kills = from_environment(
      "XENBLK_KILLS", static_cast<std::uint64_t>(xenblk::test::single_threaded_rounds(30)));
  const auto seed = from_environment("XENBLK_SEED", 1);
  const Lives lives{kills, seed};
  std::set<std::uint64_t> settings;
  for (std::uint64_t life = 0; kills_ < kills && !HasFailure(); ++life) {
    settings.insert(lives.setting(life));
    live(lives.setting(life), seed * 1000 + life, lives.kills_of_each());
  }
  std::uint64_t answers = 0;
  for (const auto count : answered_) answers += count;
  std::printf(
      "%llu kills, %zu of %llu settings, %llu answers, %llu pages verified, %u waits for "
      "the dead one's lock\n",
      static_cast<unsigned long long>(kills_), settings.size(),
      static_cast<unsigned long long>(kSettings), static_cast<unsigned long long>(answers),
      static_cast<unsigned long long>(verified_), reports_->lock_waits.load());
  EXPECT_GT(answers, 10 * kills);
}

}  // namespace
}  // namespace xenblk::ringio::test
