// A VHD on a simulated disk whose every field a test can change.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/format/dynamic_header.h"
#include "vhd/open_vhd.h"

namespace xenblk::vhd {

inline constexpr std::uint64_t kMiB = 1U << 20;
inline constexpr std::uint64_t kTable = 1536;

// An image of 8 MiB in four blocks of 2 MiB; the first one is allocated at 0x1000.
class Forgery {
 public:
  Forgery() : disk(7), file(disk, Access::read_write) {
    EXPECT_TRUE(create_vhd(
        file, {.capacity = {8 * kMiB / 512}, .uuid = Uuid{std::byte{1}}, .created = VhdTime{1}}));
    footer = read_footer(0);
    DynamicHeaderBytes bytes;
    EXPECT_TRUE(file.read_at(512, bytes));
    header = parse_dynamic_header(bytes).value();
    set_entry(0, 8);
    write(4096, test::Bytes(512, std::byte{0xff}));
    end = 4096 + 512 + 2 * kMiB;
    write_all();
  }

  Footer read_footer(std::uint64_t offset) {
    FooterBytes bytes;
    EXPECT_TRUE(file.read_at(offset, bytes));
    return parse_footer(bytes).value();
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    EXPECT_TRUE(file.write_at(offset, bytes));
  }
  void write_copy() { write(0, write_footer(footer)); }
  void write_end() { write(end, write_footer(footer)); }
  void write_header() { write(512, write_dynamic_header(header)); }
  void write_all() {
    write_copy();
    write_header();
    write_end();
  }
  void set_entry(std::uint32_t block, std::uint32_t entry) {
    test::Bytes sector(512);
    EXPECT_TRUE(file.read_at(kTable, sector));
    store_big_endian<std::uint32_t>(sector, block * 4, entry);
    write(kTable, sector);
  }
  void cut(std::uint64_t bytes) { EXPECT_TRUE(file.truncate(bytes)); }

  Expected<std::unique_ptr<Image>> open(Access access = Access::read_only) {
    return open_vhd_image(std::make_unique<test::SimFile>(disk, access), 512);
  }
  Error error(Access access = Access::read_only) {
    const auto image = open(access);
    return image ? Error{} : image.error();
  }

  test::SimDisk disk;
  test::SimFile file;
  Footer footer;
  DynamicHeader header;
  std::uint64_t end = 0;
};

struct Fault {
  const char* name;
  std::function<void(Forgery&)> make;
  Errc code;
  std::string text;
};

// `change` on both footers, or on the header.
inline auto footer_fault(std::function<void(Footer&)> change) {
  return [change](Forgery& f) {
    change(f.footer);
    f.write_all();
  };
}
inline auto header_fault(std::function<void(DynamicHeader&)> change) {
  return [change](Forgery& f) {
    change(f.header);
    f.write_header();
  };
}
inline auto entry_fault(std::uint32_t block, std::uint32_t entry) {
  return [=](Forgery& f) { f.set_entry(block, entry); };
}

}  // namespace xenblk::vhd
