// xenblk-img convert through pipes, and how it is interrupted.
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

constexpr std::uint64_t kSectors = 40000;

class ConvertStreamTest : public ImgTest {
 protected:
  void SetUp() override { make_raw("a.img", kSectors); }
  void expect_same(const std::string& image) const {
    EXPECT_EQ(good({"compare", "--strict", "raw:a.img", image}), "the same content\n");
  }
  void expect_good(const std::string& line) const {
    const auto ended = shell(line);
    EXPECT_EQ(ended.status, 0) << line;
    EXPECT_EQ(ended.err, "") << line;
  }
};

TEST_F(ConvertStreamTest, ReadsAPipeIntoEachFormat) {
  expect_good("cat a.img | $img convert - vhd:dynamic.vhd");
  expect_good("cat a.img | $img convert - vhd:fixed.vhd --type fixed");
  expect_good("cat a.img | $img convert - vhd:small.vhd --block-size 64K");
  expect_good("cat a.img | $img convert raw:- raw:b.img");
  for (const auto* image : {"vhd:dynamic.vhd", "vhd:fixed.vhd", "vhd:small.vhd", "raw:b.img"}) {
    expect_same(image);
  }
  EXPECT_LE(stored_bytes("dynamic.vhd"), 3001U * 512 + 32768);
  EXPECT_LE(stored_bytes("b.img"), 3001U * 512 + 32768);
}

TEST_F(ConvertStreamTest, ReadsAFileOnStandardInputFromWhereItIs) {
  expect_good("$img convert - vhd:b.vhd < a.img");
  expect_same("vhd:b.vhd");
  expect_good(
      "{ dd bs=512 count=100 status=none of=/dev/null; $img convert - raw:rest.img; } "
      "< a.img; tail -c +51201 a.img | cmp - rest.img");
}

TEST_F(ConvertStreamTest, ADynamicVhdFromAPipeHasTheSizeOfTheStream) {
  expect_good("cat a.img | $img convert - vhd:b.vhd");
  const auto info = json({"info", "--json", "vhd:b.vhd"});
  EXPECT_EQ(info["virtual_size"], kSectors * 512);
  EXPECT_EQ(info["original_size"], kSectors * 512);
  EXPECT_EQ(info["blocks"], 10);
  EXPECT_EQ(info["warnings"].size(), 0U);
  expect_good("7zz x -tvhd -so b.vhd | cmp - a.img");
  expect_good("qemu-img compare -q -f vpc -F raw b.vhd a.img");
}

TEST_F(ConvertStreamTest, TakesTheSizeThatIsGiven) {
  expect_good("cat a.img | $img convert - vhd:b.vhd --size 100M");
  EXPECT_EQ(json({"info", "--json", "vhd:b.vhd"})["virtual_size"], 100U << 20);
  EXPECT_EQ(shell("$img compare raw:a.img vhd:b.vhd").status, 0);
}

TEST_F(ConvertStreamTest, RefusesAStreamThatIsLongerThanTheSizeThatIsGiven) {
  const auto ended = shell("cat a.img | $img convert - vhd:b.vhd --size 1M");
  EXPECT_EQ(ended.err, "xenblk-img: standard input: longer than 1048576 bytes\n");
  EXPECT_NE(ended.status, 0);
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_F(ConvertStreamTest, WaitsForAPipeThatDoesNotBlock) {
  Running running({"python3", "-c",
                   "import os, sys\n"
                   "os.set_blocking(0, False)\n"
                   "os.execv(sys.argv[1], sys.argv[1:])",
                   XENBLK_IMG_PROGRAM, "convert", "-", "vhd:b.vhd", "--size", "1M"},
                  path(""));
  running.send(std::string(1 << 20, 'x'));
  running.wait_until_it_waits_for_input();
  running.send("more");
  const auto ended = running.wait();
  EXPECT_EQ(ended.err, "xenblk-img: standard input: longer than 1048576 bytes\n");
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_F(ConvertStreamTest, FillsTheLastSectorOfAnOddStream) {
  for (const auto* image : {"raw:b.img", "vhd:b.vhd"}) {
    const auto ended = img({"convert", "-", image}, std::string(1000, 'x'));
    EXPECT_EQ(ended.status, 0) << ended.err;
  }
  EXPECT_EQ(std::filesystem::file_size(path("b.img")), 1024U);
  EXPECT_EQ(json({"info", "--json", "vhd:b.vhd"})["virtual_size"], 1024);
  EXPECT_EQ(good({"compare", "--strict", "raw:b.img", "vhd:b.vhd"}), "the same content\n");
}

TEST_F(ConvertStreamTest, RefusesAnEmptyStream) {
  for (const auto* name : {"raw:b.img", "vhd:b.img"}) {
    EXPECT_EQ(refused({"convert", "-", name}), "DIR/b.img: a disk of no size");
  }
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_F(ConvertStreamTest, OverwritesNoBlockDevice) {
  // A number that no driver has.
  if (::mknod(path("device").c_str(), S_IFBLK | 0600, ::makedev(60, 0)) != 0) {
    GTEST_SKIP() << "not root: no block device can be made";
  }
  for (const std::string options : {"", " --force"}) {
    const auto ended = shell("$img convert - raw:device" + options + " < a.img");
    EXPECT_EQ(ended.status, 1);
    EXPECT_EQ(without_directory(ended.err),
              "xenblk-img: DIR/device: is a block device; not overwritten from a pipe\n");
  }
}

TEST_F(ConvertStreamTest, WritesARawStream) {
  good({"convert", "raw:a.img", "vhd:a.vhd"});
  expect_good("$img convert vhd:a.vhd - | cmp - a.img");
  expect_good("$img convert raw:a.img raw:- | cmp - a.img");
}

TEST_F(ConvertStreamTest, WritesAVhdStreamThatEveryoneReads) {
  good({"convert", "raw:a.img", "vhd:a.vhd"});
  expect_good("$img convert raw:a.img - --type fixed | cat > fixed.vhd");
  expect_good("$img convert raw:a.img - --type dynamic | cat > dynamic.vhd");
  expect_good("$img convert vhd:a.vhd vhd:- | cat > again.vhd");
  expect_good("$img convert vhd:a.vhd - --block-size 512K | cat > small.vhd");
  for (const std::string name : {"fixed.vhd", "dynamic.vhd", "again.vhd", "small.vhd"}) {
    expect_same("vhd:" + name);
    expect_good("7zz x -tvhd -so " + name + " | cmp - a.img");
    expect_good("qemu-img compare -q -f vpc -F raw " + name + " a.img");
  }
  // Blocks without data are not in the stream.
  EXPECT_LT(std::filesystem::file_size(path("dynamic.vhd")), 9U << 20);
  EXPECT_EQ(json({"info", "--json", "vhd:small.vhd"})["block_size"], 512U << 10);
  EXPECT_EQ(json({"info", "--json", "vhd:again.vhd"})["warnings"].size(), 0U);
}

TEST_F(ConvertStreamTest, SaysThatItsReaderLeft) {
  const auto ended = shell("$img convert raw:a.img - | true; echo ${PIPESTATUS[0]}");
  EXPECT_EQ(ended.out, "1\n");
  EXPECT_EQ(ended.err, "xenblk-img: standard output: Broken pipe\n");
}

TEST_F(ConvertStreamTest, SaysThatStandardOutputIsFull) {
  const auto ended = shell("$img convert raw:a.img - > /dev/full");
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblk-img: standard output: No space left on device\n");
}

TEST_F(ConvertStreamTest, SaysThatStandardInputCannotBeRead) {
  const auto ended = shell("$img convert - raw:b.img < .");
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblk-img: standard input: Is a directory\n");
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

// --- interruption ---

class InterruptTest : public ConvertStreamTest, public ::testing::WithParamInterface<int> {
 protected:
  // Waits until a new file appears in the directory.
  class NewFile {
   public:
    explicit NewFile(const std::string& directory) : descriptor_(::inotify_init1(IN_CLOEXEC)) {
      EXPECT_GE(::inotify_add_watch(descriptor_, directory.c_str(), IN_CREATE), 0);
    }
    ~NewFile() { ::close(descriptor_); }
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    void wait() const {
      char event[4096];
      EXPECT_GT(::read(descriptor_, event, sizeof(event)), 0);
    }

   private:
    int descriptor_;
  };

  Ended interrupt(const std::vector<std::string>& words) const {
    const NewFile target(path(""));
    auto running = start(words);
    running.send(std::string(1 << 20, 'x'));
    target.wait();
    running.signal(GetParam());
    return running.wait();
  }
};
INSTANTIATE_TEST_SUITE_P(By, InterruptTest, ::testing::Values(SIGINT, SIGTERM, SIGHUP),
                         [](const auto& param) { return ::sigabbrev_np(param.param); });

TEST_P(InterruptTest, LeavesNoTargetBehind) {
  const auto ended = interrupt({"convert", "-", "vhd:b.vhd"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblk-img: interrupted\n");
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_P(InterruptTest, LeavesNoTargetBehindWhileItWaitsForTheStreamToEnd) {
  auto running = start({"convert", "-", "vhd:b.vhd", "--size", "1M"});
  running.send(std::string(1 << 20, 'x'));
  running.wait_until_it_waits_for_input();
  running.signal(GetParam());
  const auto ended = running.wait();
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblk-img: interrupted\n");
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_P(InterruptTest, IsNotInterruptedByASignalThatIsIgnored) {
  const NewFile target(path(""));
  Running running(
      {"bash", "-c", "trap '' HUP INT TERM; exec \"$0\" convert - vhd:b.vhd", XENBLK_IMG_PROGRAM},
      path(""));
  running.send(std::string(1 << 20, 'x'));
  target.wait();
  running.signal(GetParam());
  running.close_input();
  const auto ended = running.wait();
  EXPECT_EQ(ended.err, "");
  EXPECT_EQ(ended.status, 0);
}

TEST_P(InterruptTest, LeavesAFileThatExistsAsItIs) {
  const auto before = file_bytes(path("a.img"));
  const auto ended = interrupt({"convert", "-", "raw:a.img", "--force"});
  EXPECT_EQ(ended.err, "xenblk-img: interrupted\n");
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
  EXPECT_TRUE(file_bytes(path("a.img")) == before);
}

}  // namespace
}  // namespace xenblk::test
