// One file, many users.
#include "vhd/image_registry.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"

namespace xenblk::vhd {
namespace {

class ImageRegistryTest : public ::testing::Test {
 protected:
  void SetUp() override { path_ = dir_.make_file("a", 8192); }

  std::shared_ptr<Image> open(const std::string& spec, Access access) {
    return registry_.open(parse_image_spec(spec).value(), access).value();
  }
  Error open_error(const std::string& spec, Access access) {
    const auto image = registry_.open(parse_image_spec(spec).value(), access);
    return image ? Error{} : image.error();
  }
  void close(std::shared_ptr<Image>& image) { EXPECT_TRUE(registry_.close(std::move(image))); }

  test::TempDir dir_;
  std::string path_;
  ImageRegistry registry_;
};

TEST_F(ImageRegistryTest, SharesOneImageBetweenWriters) {
  auto one = open(path_, Access::read_write);
  auto two = open("raw:" + path_, Access::read_write);
  EXPECT_EQ(one, two);
  close(one);
  close(two);
}

TEST_F(ImageRegistryTest, KnowsAFileByItsLinks) {
  ASSERT_EQ(::link(path_.c_str(), dir_.path("hard").c_str()), 0);
  ASSERT_EQ(::symlink(path_.c_str(), dir_.path("soft").c_str()), 0);
  auto one = open(path_, Access::read_write);
  auto two = open(dir_.path("hard"), Access::read_write);
  auto three = open(dir_.path("soft"), Access::read_write);
  EXPECT_EQ(one, two);
  EXPECT_EQ(one, three);
  close(one);
  close(two);
  close(three);
}

TEST_F(ImageRegistryTest, OpensOnlyWhatLiesBeneathTheRoots) {
  const auto inside = dir_.path("images");
  ASSERT_EQ(::mkdir(inside.c_str(), 0700), 0);
  ASSERT_EQ(::link(path_.c_str(), (inside + "/a").c_str()), 0);
  ASSERT_EQ(::symlink(path_.c_str(), (inside + "/way-out").c_str()), 0);
  ImageRegistry registry({.image_roots = {"/not/there", inside}});
  const auto error = [&](const std::string& path) {
    const auto image = registry.open(parse_image_spec(path).value(), Access::read_write);
    return image ? Error{} : image.error();
  };
  const auto refused = [](const std::string& path) {
    return Error{Errc::permission, 0, path + ": images may not lie there (image-roots says where)"};
  };
  EXPECT_EQ(error(path_), refused(path_));
  EXPECT_EQ(error(inside + "/way-out"), refused(inside + "/way-out"));
  EXPECT_EQ(error(inside + "/../a"), refused(inside + "/../a"));
  EXPECT_EQ(error(dir_.path("no-such-file")).code, Errc::not_found);
  auto image = registry.open(parse_image_spec(inside + "/a").value(), Access::read_write);
  ASSERT_TRUE(image.has_value());
  EXPECT_TRUE(registry.close(std::move(*image)));
}

// As where Landlock shuts off what lies over a root that it was told of.
TEST_F(ImageRegistryTest, SaysThatARootWasMountedAfterTheStart) {
  const auto root = dir_.path("images");
  ASSERT_EQ(::mkdir(root.c_str(), 0700), 0);
  const ImageRoots roots({root});
  const auto path = root + "/a";
  const Error denied{Errc::permission, EACCES, path};
  std::ofstream{path};
  EXPECT_EQ(roots.explain(path, denied), denied);
  std::filesystem::rename(root, dir_.path("away"));
  ASSERT_EQ(::mkdir(root.c_str(), 0700), 0);
  std::ofstream{path};
  EXPECT_EQ(describe(roots.explain(path, denied)),
            path + ": the image root " + root +
                " was mounted or made when xenblkd was running: restart xenblkd, it cannot open "
                "anything there until then: Permission denied");
  const Error other{Errc::io, EIO, path};
  EXPECT_EQ(roots.explain(path, other), other);
}

TEST_F(ImageRegistryTest, GivesAReaderAViewOfTheWritersImage) {
  auto writer = open(path_, Access::read_write);
  auto reader = open(path_, Access::read_only);
  test::FileEngine engine;
  EXPECT_EQ(test::BlockingDisk(*writer, engine).write(1, test::bytes_of(1, 9)), IoStatus::okay);
  test::BlockingDisk read_disk(*reader, engine);
  EXPECT_EQ(read_disk.read(1, 1).data, test::bytes_of(1, 9));
  EXPECT_EQ(read_disk.write(1, test::bytes_of(1, 8)), IoStatus::read_only);
  EXPECT_EQ(read_disk.flush(), IoStatus::okay);
  EXPECT_EQ(reader->info().access, Access::read_only);
  close(writer);
  EXPECT_EQ(read_disk.read(1, 1).data, test::bytes_of(1, 9));
  close(reader);
}

TEST_F(ImageRegistryTest, RefusesAWriterBesideReaders) {
  auto reader = open(path_, Access::read_only);
  EXPECT_EQ(open_error(path_, Access::read_write),
            (Error{Errc::locked, 0, path_ + ": in use read-only as " + path_}));
  close(reader);
  auto writer = open(path_, Access::read_write);
  close(writer);
}

TEST_F(ImageRegistryTest, RefusesASecondFormat) {
  auto raw = open(path_, Access::read_only);
  EXPECT_EQ(open_error("vhd:" + path_, Access::read_only),
            (Error{Errc::locked, 0, path_ + ": in use with another format as " + path_}));
  close(raw);
}

TEST_F(ImageRegistryTest, RefusesWhatAnotherRegistryHolds) {
  auto mine = open(path_, Access::read_write);
  ImageRegistry other;
  EXPECT_EQ(other.open({Format::raw, path_, {}}, Access::read_write).error(),
            (Error{Errc::locked, EAGAIN, path_ + ": locked by another process"}));
  close(mine);
}

TEST_F(ImageRegistryTest, NamesTheFileInEveryError) {
  const auto tiny = dir_.make_file("tiny", 3);
  EXPECT_EQ(open_error(tiny, Access::read_only),
            (Error{Errc::bad_image, 0, tiny + ": smaller than one sector"}));
  EXPECT_EQ(open_error(dir_.path("none"), Access::read_only),
            (Error{Errc::not_found, ENOENT, dir_.path("none")}));
}

TEST_F(ImageRegistryTest, GivesEveryUserOfNullAnImageOfItsOwn) {
  auto one = open("null:1M", Access::read_write);
  auto two = open("null:1M", Access::read_write);
  EXPECT_NE(one, two);
  EXPECT_EQ(one->info().capacity.n, 2048U);
  close(one);
  close(two);
}

// Who looks at the size of a file that grows, and then at its table, sees blocks beyond the end.
TEST_F(ImageRegistryTest, MakesAChildOfAnImageWhoseBlocksComeMeanwhile) {
  const auto path = dir_.path("running.vhd");
  ASSERT_TRUE(create_vhd_file(path, {.capacity = {16384}}));
  auto image = open("vhd:" + path, Access::read_write);
  std::fstream table(path, std::ios::binary | std::ios::in | std::ios::out);
  table.seekp(1536).write("\0\0\0\x0f", 4).flush();
  const auto made = registry_.make_child(image, dir_.path("child.vhd"));
  EXPECT_TRUE(made.has_value()) << made.error().text;
  close(image);
}

TEST_F(ImageRegistryTest, MayBeUsedByManyThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int round = 0; round < 50; ++round) {
        auto image = open(path_, Access::read_write);
        close(image);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace xenblk::vhd
