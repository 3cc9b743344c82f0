// Requests that are wrong in themselves.
#include <iterator>
#include <random>
#include <stdexcept>

#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

std::uint64_t sectors_of(Disk& disk) {
  return std::stoull(disk.offered("sectors"));
}

// Sends each and counts what they are answered.
class Asked {
 public:
  explicit Asked(Disk& disk) : connection(disk) {}
  void ask(const blkif_request& request) { tally_.add(connection.ring.ask(request)); }
  std::string close() {
    connection.close();
    return tally_.text();
  }
  Connection connection;
  Pages page;

 private:
  Tally tally_;
};

std::string unknown_operations(Disk& disk) {
  Asked asked(disk);
  for (int operation = 7; operation < 256; ++operation) {
    asked.ask(transfer(operation, 0, {{asked.page.ref()}}));
  }
  asked.ask(transfer(BLKIF_OP_RESERVED_1, 0, {{asked.page.ref()}}));
  return asked.close();
}

std::string numbers_of_segments(Disk& disk) {
  Asked asked(disk);
  for (const int operation :
       {BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER, BLKIF_OP_FLUSH_DISKCACHE}) {
    for (const int count : {0, 12, 255}) {
      const bool may_be_empty = operation != BLKIF_OP_READ && operation != BLKIF_OP_WRITE;
      if (count == 0 && may_be_empty) continue;
      auto request = transfer(operation, 0, {{asked.page.ref()}});
      request.nr_segments = static_cast<std::uint8_t>(count);
      asked.ask(request);
    }
  }
  return asked.close();
}

std::string segments_outside(Disk& disk) {
  Asked asked(disk);
  constexpr std::uint8_t kWrong[][2] = {{0, 8}, {0, 255}, {255, 255}, {7, 6}, {255, 0}};
  for (const auto& [first, last] : kWrong) {
    asked.ask(transfer(BLKIF_OP_WRITE, 0, {{asked.page.ref(), first, last}}));
  }
  return asked.close();
}

std::string places_beyond(Disk& disk) {
  Asked asked(disk);
  const auto sectors = sectors_of(disk);
  for (const std::uint64_t sector :
       {sectors - 7, sectors, std::uint64_t{1} << 55, ~std::uint64_t{0}, ~std::uint64_t{0} - 6}) {
    for (const int operation : {BLKIF_OP_READ, BLKIF_OP_WRITE}) {
      asked.ask(transfer(operation, sector, {{asked.page.ref()}}));
    }
  }
  return asked.close();
}

std::string discards_beyond(Disk& disk) {
  Asked asked(disk);
  asked.ask(discard(0, ~std::uint64_t{0}));
  asked.ask(discard(8, sectors_of(disk)));
  asked.ask(discard(~std::uint64_t{0}, 2));
  asked.ask(discard(0, 0));
  return asked.close();
}

std::string indirect_lies(Disk& disk) {
  Asked asked(disk);
  const auto most = std::stoul(disk.offered("feature-max-indirect-segments"));
  for (const auto count : {0UL, most + 1, 65535UL}) {
    asked.ask(indirect(BLKIF_OP_WRITE, 0, static_cast<std::uint16_t>(count), asked.page.ref()));
  }
  for (int operation = 2; operation < 256; ++operation) {
    asked.ask(indirect(operation, 0, 1, asked.page.ref()));
  }
  return asked.close();
}

std::string read_only_disk(Disk&) {
  Disk disk(kReadOnlyDevice);
  Asked asked(disk);
  for (const int operation : {BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER, BLKIF_OP_FLUSH_DISKCACHE}) {
    asked.ask(transfer(operation, 0, {{asked.page.ref()}}));
  }
  auto text = asked.close();
  converse_read_only(disk);
  return text;
}

// Far more than the budget of bad requests: the rest of them waits, and nothing else does.
std::string many_bad_requests(Disk& disk) {
  std::mt19937 random(4);
  Connection connection(disk);
  const Pages page;
  int answered = 0;
  for (int round = 0; round < 100; ++round) {
    for (std::uint32_t i = 0; i < kRingEntries; ++i) {
      auto request = transfer(static_cast<int>(random() % 6), random() % 1'000'000, {});
      for (auto n = random() % 12; n != 0; --n) {
        auto& segment = request.seg[request.nr_segments++ % 11];
        // Small numbers are what the guest's own kernel has granted.
        segment.gref =
            random() % 4 == 0 ? page.ref() : static_cast<std::uint32_t>(random() | 65536);
        segment.first_sect = 0;
        segment.last_sect = static_cast<std::uint8_t>(random() % 10);
      }
      connection.ring.put(request);
    }
    connection.ring.push();
    answered += static_cast<int>(connection.ring.take(kRingEntries).size());
  }
  connection.close();
  return std::to_string(answered) + " answered";
}

constexpr Case kCases[] = {
    {"unknown-operations-are-not-supported", "250 not supported", unknown_operations},
    {"impossible-numbers-of-segments-are-refused", "10 error", numbers_of_segments},
    {"segments-outside-their-page-are-refused", "5 error", segments_outside},
    {"places-beyond-the-end-are-refused", "10 error", places_beyond},
    {"discards-beyond-the-end-are-refused", "4 error", discards_beyond},
    {"indirect-requests-that-lie-are-refused", "257 error", indirect_lies},
    {"a-read-only-disk-refuses-every-change", "3 error", read_only_disk},
    {"many-bad-requests-leave-nothing-behind", "3200 answered", many_bad_requests},
};

}  // namespace

std::span<const Case> request_cases() {
  return kCases;
}

}  // namespace hostile
