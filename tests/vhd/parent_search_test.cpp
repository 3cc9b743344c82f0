// Chains of files: which parent is found, and which is refused and why.
#include "vhd/chain/parent_search.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/image_registry.h"

namespace xenblk::vhd {
namespace {

constexpr std::uint64_t kSectors = 256;

Uuid uuid_of(unsigned n) {
  return {static_cast<std::byte>(n)};
}

std::string hex_of(unsigned n) {
  return fmt::format("{:02x}", n) + std::string(30, '0');
}

class ParentSearchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(dir_.path("images"));
    std::filesystem::create_directory(dir_.path("library"));
  }

  std::string path(const std::string& name) const { return dir_.path("images/" + name); }

  // A dynamic image whose sectors hold `value`.
  void make_base(const std::string& at, unsigned id, unsigned value) {
    ASSERT_TRUE(create_vhd_file(at, {.capacity = {kSectors}, .uuid = uuid_of(id)}));
    auto image = registry_.open({Format::vhd, at, {}}, Access::read_write).value();
    test::FileEngine engine;
    test::BlockingDisk guest(*image, engine);
    ASSERT_EQ(guest.write(0, test::bytes_of(kSectors, value)), IoStatus::okay);
    ASSERT_TRUE(registry_.close(std::move(image)));
  }

  void make_child(const std::string& at, unsigned id, unsigned parent_id,
                  const std::string& parent_path) {
    std::ofstream(at, std::ios::binary).flush();
    const auto file = open_host_file(at, {.access = Access::read_write}).value();
    test::make_child(*file, {.capacity = {kSectors},
                             .uuid = uuid_of(id),
                             .parent_uuid = uuid_of(parent_id),
                             .parent_path = parent_path});
  }

  static Error error_of(ImageRegistry& registry, const std::string& at,
                        Access access = Access::read_write) {
    auto image = registry.open({Format::vhd, at, {}}, access);
    if (!image) return image.error();
    EXPECT_TRUE(registry.close(std::move(*image)));
    return {Errc::io, 0, "opened"};
  }

  static test::Bytes first_sector(Image& image) {
    test::FileEngine engine;
    return test::BlockingDisk(image, engine).read(0, 1).data;
  }
  static void expect_first_sector(ImageRegistry& registry, const std::string& at, unsigned value) {
    auto image = registry.open({Format::vhd, at, {}}, Access::read_write);
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_EQ(first_sector(**image), test::bytes_of(1, value));
    EXPECT_TRUE(registry.close(std::move(*image)));
  }

  test::TempDir dir_;
  ImageRegistry registry_;
};

TEST_F(ParentSearchTest, FindsAParentBesideItsChild) {
  make_base(path("base.vhd"), 2, 7);
  make_child(path("middle.vhd"), 3, 2, "base.vhd");
  make_child(path("leaf.vhd"), 4, 3, "middle.vhd");
  expect_first_sector(registry_, path("leaf.vhd"), 7);
}

TEST_F(ParentSearchTest, FindsAParentBesideAChildThatWasMoved) {
  make_base(path("base.vhd"), 2, 7);
  make_child(path("leaf.vhd"), 4, 2, "../elsewhere/base.vhd");
  expect_first_sector(registry_, path("leaf.vhd"), 7);
}

TEST_F(ParentSearchTest, FindsAParentBesideTheLinkThatNamesItsChild) {
  make_base(path("base.vhd"), 2, 7);
  make_child(dir_.path("library/leaf.vhd"), 4, 2, "base.vhd");
  std::filesystem::create_symlink(dir_.path("library/leaf.vhd"), path("leaf.vhd"));
  expect_first_sector(registry_, path("leaf.vhd"), 7);
}

TEST_F(ParentSearchTest, TakesTheCandidateThatHasTheRightId) {
  std::filesystem::create_directory(path("old"));
  make_base(path("old/base.vhd"), 9, 1);
  make_base(path("base.vhd"), 2, 7);
  make_child(path("leaf.vhd"), 4, 2, "old/base.vhd");
  expect_first_sector(registry_, path("leaf.vhd"), 7);
}

TEST_F(ParentSearchTest, RefusesAMissingParent) {
  make_child(path("leaf.vhd"), 4, 2, "base.vhd");
  EXPECT_EQ(
      error_of(registry_, path("leaf.vhd")),
      (Error{Errc::not_found, 0,
             path("leaf.vhd") + ": parent " + path("base.vhd") + ": No such file or directory"}));
}

TEST_F(ParentSearchTest, RefusesAParentOfAnotherId) {
  make_base(path("base.vhd"), 9, 1);
  make_child(path("leaf.vhd"), 4, 2, "base.vhd");
  EXPECT_EQ(error_of(registry_, path("leaf.vhd")),
            (Error{Errc::bad_image, 0,
                   path("leaf.vhd") + ": parent " + path("base.vhd") + ": its id is " + hex_of(9) +
                       ", not " + hex_of(2)}));
}

TEST_F(ParentSearchTest, RefusesAParentOutsideTheDirectoriesThatAreAllowed) {
  const auto outside = dir_.path("library/base.vhd");
  make_base(outside, 2, 7);
  make_child(path("leaf.vhd"), 4, 2, "../library/base.vhd");
  const auto error = error_of(registry_, path("leaf.vhd"));
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_EQ(error.text, path("leaf.vhd") + ": parent " + path("../library/base.vhd") + ": " +
                            outside + " is outside the directories that are allowed; parent " +
                            path("base.vhd") + ": No such file or directory");
  ImageRegistry allowing({.image_directories = {dir_.path("library")}});
  expect_first_sector(allowing, path("leaf.vhd"), 7);
}

TEST_F(ParentSearchTest, JudgesALinkByWhatItPointsAt) {
  const auto outside = dir_.path("library/base.vhd");
  make_base(outside, 2, 7);
  std::filesystem::create_symlink(outside, path("base.vhd"));
  make_child(path("leaf.vhd"), 4, 2, "base.vhd");
  const auto error = error_of(registry_, path("leaf.vhd"));
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_EQ(error.text, path("leaf.vhd") + ": parent " + path("base.vhd") + ": " + outside +
                            " is outside the directories that are allowed");
}

TEST_F(ParentSearchTest, RefusesADirectoryWhoseNameOnlyBeginsLikeAnAllowedOne) {
  std::filesystem::create_directory(dir_.path("library2"));
  make_base(dir_.path("library2/base.vhd"), 2, 7);
  make_child(path("leaf.vhd"), 4, 2, "../library2/base.vhd");
  ImageRegistry allowing({.image_directories = {dir_.path("library")}});
  EXPECT_EQ(error_of(allowing, path("leaf.vhd")).code, Errc::permission);
}

TEST_F(ParentSearchTest, RefusesAnImageThatIsItsOwnParent) {
  make_child(path("leaf.vhd"), 4, 4, "leaf.vhd");
  EXPECT_EQ(
      error_of(registry_, path("leaf.vhd"), Access::read_only),
      (Error{Errc::bad_image, 0,
             path("leaf.vhd") + ": parent " + path("leaf.vhd") + ": it is the image itself"}));
}

TEST_F(ParentSearchTest, RefusesACircle) {
  make_child(path("a.vhd"), 1, 2, "b.vhd");
  make_child(path("b.vhd"), 2, 1, "a.vhd");
  EXPECT_EQ(error_of(registry_, path("a.vhd"), Access::read_only),
            (Error{Errc::bad_image, 0,
                   path("a.vhd") + ": " + path("b.vhd") + ": parent " + path("a.vhd") +
                       ": the chain comes back to it"}));
}

TEST_F(ParentSearchTest, RefusesMoreThan64Parents) {
  make_base(path("0.vhd"), 0x40, 7);
  for (unsigned i = 1; i <= 65; ++i) {
    make_child(path(std::to_string(i) + ".vhd"), 0x40 + i, 0x40 + i - 1,
               std::to_string(i - 1) + ".vhd");
  }
  expect_first_sector(registry_, path("64.vhd"), 7);
  EXPECT_EQ(error_of(registry_, path("65.vhd")),
            (Error{Errc::unsupported_image, 0,
                   path("65.vhd") + ": " + path("1.vhd") + ": a chain of more than 64 parents"}));
}

TEST_F(ParentSearchTest, RefusesAParentThatIsInUseForWriting) {
  make_base(path("base.vhd"), 2, 7);
  make_child(path("leaf.vhd"), 4, 2, "base.vhd");
  const auto prefix = path("leaf.vhd") + ": parent " + path("base.vhd") + ": ";
  auto writer = registry_.open({Format::vhd, path("base.vhd"), {}}, Access::read_write).value();
  EXPECT_EQ(error_of(registry_, path("leaf.vhd")),
            (Error{Errc::locked, 0, prefix + "in use for writing as " + path("base.vhd")}));
  ImageRegistry other;
  EXPECT_EQ(error_of(other, path("leaf.vhd")),
            (Error{Errc::locked, 0,
                   prefix + "locked by another process: Resource temporarily unavailable"}));
  EXPECT_TRUE(registry_.close(std::move(writer)));
  expect_first_sector(registry_, path("leaf.vhd"), 7);
}

TEST_F(ParentSearchTest, RefusesToWriteAParent) {
  make_base(path("base.vhd"), 2, 7);
  make_child(path("leaf.vhd"), 4, 2, "base.vhd");
  auto leaf = registry_.open({Format::vhd, path("leaf.vhd"), {}}, Access::read_write).value();
  EXPECT_EQ(error_of(registry_, path("base.vhd")),
            (Error{Errc::locked, 0, path("base.vhd") + ": in use as the parent of another image"}));
  EXPECT_EQ(error_of(registry_, path("base.vhd"), Access::read_only).text, "opened");
  EXPECT_TRUE(registry_.close(std::move(leaf)));
  EXPECT_EQ(error_of(registry_, path("base.vhd")).text, "opened");
}

TEST_F(ParentSearchTest, RefusesARawParentUnlessItIsAllowed) {
  const auto raw = dir_.make_file("images/disk.raw", kSectors * kSectorBytes, '\5');
  make_child(path("leaf.vhd"), 4, 0, "disk.raw");
  EXPECT_EQ(error_of(registry_, path("leaf.vhd")),
            (Error{Errc::unsupported_image, 0,
                   path("leaf.vhd") + ": its parent is a raw disk, which is not allowed here"}));
  ImageRegistry allowing({.raw_parents = true});
  expect_first_sector(allowing, path("leaf.vhd"), 5);
}

TEST_F(ParentSearchTest, OpensAParentOnceForAllItsChildren) {
  make_base(path("base.vhd"), 2, 7);
  make_child(path("a.vhd"), 3, 2, "base.vhd");
  make_child(path("b.vhd"), 4, 2, "base.vhd");
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  const auto before = open_files();
  auto a = registry_.open({Format::vhd, path("a.vhd"), {}}, Access::read_write).value();
  auto b = registry_.open({Format::vhd, path("b.vhd"), {}}, Access::read_write).value();
  EXPECT_EQ(open_files(), before + 3);
  EXPECT_TRUE(registry_.close(std::move(a)));
  EXPECT_EQ(first_sector(*b), test::bytes_of(1, 7));
  EXPECT_TRUE(registry_.close(std::move(b)));
  EXPECT_EQ(open_files(), before);
}

}  // namespace
}  // namespace xenblk::vhd
