// Requests whose grants are wrong, or become so.
#include <cstring>

#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

// Far beyond the guest's grant table, or the largest there is.
constexpr std::uint32_t kNeverGranted[] = {100'000, 0x7fff'ffff, 0xffff'ffff};

std::string never_granted(Disk& disk) {
  Connection connection(disk);
  Tally tally;
  for (const auto ref : kNeverGranted) {
    for (const int operation : {BLKIF_OP_READ, BLKIF_OP_WRITE}) {
      tally.add(connection.ring.ask(transfer(operation, 0, {{ref}})));
    }
  }
  connection.close();
  return tally.text();
}

std::string read_into_read_only(Disk& disk) {
  Connection connection(disk);
  const Pages page(1, Grant::read_only);
  page.fill(std::byte{0x11});
  Tally tally;
  tally.add(connection.ring.ask(transfer(BLKIF_OP_READ, 0, {{page.ref()}})));
  const bool untouched = page.memory()[0] == std::byte{0x11};
  connection.close();
  return tally.text() + (untouched ? "" : ", and the page was written");
}

std::string write_from_read_only(Disk& disk) {
  Connection connection(disk);
  const Pages page(1, Grant::read_only);
  Tally tally;
  tally.add(connection.ring.ask(transfer(BLKIF_OP_WRITE, 8, {{page.ref()}})));
  connection.close();
  return tally.text();
}

std::string revoked(Disk& disk) {
  Connection connection(disk);
  Pages page;
  const auto ref = page.ref();
  page.revoke();
  Tally tally;
  tally.add(connection.ring.ask(transfer(BLKIF_OP_WRITE, 0, {{ref}})));
  tally.add(connection.ring.ask(transfer(BLKIF_OP_READ, 0, {{ref}})));
  connection.close();
  return tally.text();
}

// Whether it succeeds depends on who is faster; answered it must be.
std::string revoked_in_use(Disk& disk) {
  Connection connection(disk);
  int answered = 0;
  for (int round = 0; round < 100; ++round) {
    Pages pages(8);
    for (std::uint32_t i = 0; i < 8; ++i) {
      const int operation = i % 2 == 0 ? BLKIF_OP_READ : BLKIF_OP_WRITE;
      connection.ring.put(transfer(operation, i * 8ULL, {{pages.ref(i)}}));
    }
    connection.ring.push();
    pages.revoke();
    answered += static_cast<int>(connection.ring.take(8).size());
  }
  connection.close();
  return std::to_string(answered) + " answered";
}

std::string other_domain(Disk& disk) {
  Connection connection(disk);
  const Pages page(1, Grant::read_write, 32000);
  Tally tally;
  tally.add(connection.ring.ask(transfer(BLKIF_OP_READ, 0, {{page.ref()}})));
  tally.add(connection.ring.ask(transfer(BLKIF_OP_WRITE, 0, {{page.ref()}})));
  connection.close();
  return tally.text();
}

std::string same_page_twice(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  const Piece piece{page.ref()};
  Tally tally;
  tally.add(connection.ring.ask(transfer(BLKIF_OP_READ, 0, {piece, piece, piece})));
  connection.close();
  return tally.text();
}

std::string one_bad_segment(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  std::vector<Piece> pieces(11, Piece{page.ref()});
  pieces[6].ref = kNeverGranted[0];
  connection.ring.put(transfer(BLKIF_OP_WRITE, 0, pieces));
  connection.ring.put(transfer(BLKIF_OP_WRITE, 800, {{page.ref()}}));
  connection.ring.push();
  Tally tally;
  for (const auto& answer : connection.ring.take(2)) tally.add(answer);
  connection.close();
  return tally.text();
}

// The backend writes the guest's own ring over, indices and all.
std::string ring_as_data(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  page.fill(std::byte{0xff});
  auto& ring = connection.ring;
  Tally tally;
  tally.add(ring.ask(transfer(BLKIF_OP_WRITE, 0, {{ring.pages().ref()}})));
  tally.add(ring.ask(transfer(BLKIF_OP_WRITE, 0, {{page.ref()}})));
  ring.put(transfer(BLKIF_OP_READ, 0, {{ring.pages().ref()}}));
  ring.push();
  connection.close();
  return tally.text();
}

std::string bad_tables(Disk& disk) {
  Connection connection(disk);
  const Pages data;
  data.fill(std::byte{0xa5});
  Tally tally;
  for (const auto ref : {kNeverGranted[0], kNeverGranted[2], data.ref()}) {
    tally.add(connection.ring.ask(indirect(BLKIF_OP_WRITE, 0, 16, ref)));
    tally.add(connection.ring.ask(indirect(BLKIF_OP_READ, 0, 16, ref)));
  }
  connection.close();
  return tally.text();
}

// The table lists its own page as the data's: it is overwritten by what is read through it.
std::string table_as_data(Disk& disk) {
  Connection connection(disk);
  const Pages table;
  for (std::size_t i = 0; i < 64; ++i) {
    const blkif_request_segment segment{.gref = table.ref(), .first_sect = 0, .last_sect = 7};
    std::memcpy(table.memory().data() + i * sizeof segment, &segment, sizeof segment);
  }
  Tally tally;
  tally.add(connection.ring.ask(indirect(BLKIF_OP_WRITE, 0, 32, table.ref())));
  tally.add(connection.ring.ask(indirect(BLKIF_OP_READ, 0, 32, table.ref())));
  connection.close();
  return tally.text();
}

// The backend has the pages mapped, so they stay usable until it lets go, whatever the guest says.
std::string revoked_when_mapped(Disk& disk) {
  Connection connection(disk, true);
  if (disk.offered("feature-persistent") != "1") return "persistent grants are not offered";
  Tally tally;
  for (int round = 0; round < 4; ++round) {
    Pages pages(8);
    const auto all = [&](int operation) {
      for (std::uint32_t i = 0; i < 8; ++i) {
        connection.ring.put(transfer(operation, i * 8ULL, {{pages.ref(i)}}));
      }
      connection.ring.push();
      for (const auto& answer : connection.ring.take(8)) tally.add(answer);
    };
    all(BLKIF_OP_WRITE);
    pages.revoke();
    all(BLKIF_OP_READ);
  }
  connection.close();
  return tally.text();
}

constexpr Case kCases[] = {
    {"references-that-were-never-granted-fail-their-request-only", "6 error", never_granted},
    {"a-read-into-a-read-only-page-fails", "1 error", read_into_read_only},
    {"a-write-from-a-read-only-page-works", "1 okay", write_from_read_only},
    {"a-revoked-reference-fails", "2 error", revoked},
    {"references-revoked-while-they-are-used", "800 answered", revoked_in_use},
    {"a-page-granted-to-another-domain-fails", "2 error", other_domain},
    {"the-same-page-twice-is-the-guests-own-matter", "1 okay", same_page_twice},
    {"one-bad-segment-fails-all-of-its-request-and-no-other", "1 error, 1 okay", one_bad_segment},
    {"the-page-of-the-ring-as-data-hurts-nobody-else", "2 okay", ring_as_data},
    {"indirect-tables-that-are-none-are-refused", "6 error", bad_tables},
    {"an-indirect-table-that-is-its-own-data", "2 okay", table_as_data},
    {"a-reference-revoked-after-it-was-mapped-harms-nobody", "64 okay", revoked_when_mapped},
};

}  // namespace

std::span<const Case> segment_cases() {
  return kCases;
}

}  // namespace hostile
