// Images exchanged with other programs, both ways; and images that other programs wrote long ago.
// A sample that is not there is a skip that says so.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"
#include "vhd/image_registry.h"

namespace xenblk::vhd {
namespace {

int run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str());
}

// ./dev installs them.
#define REQUIRE_PROGRAM(name) ASSERT_EQ(run("command -v " name), 0) << name " is not installed"

// Writes and reads an image as a guest would, and remembers all of it in a raw file.
class Exchange {
 public:
  explicit Exchange(std::uint64_t sectors) : sectors_(sectors), expected_(sectors * kSectorBytes) {}

  ~Exchange() {
    if (image_) close();
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  std::string path(const std::string& name) const { return dir_.path(name); }

  void open(const std::string& spec, Access access = Access::read_write) {
    image_ = registry_.open(parse_image_spec(spec).value(), access).value();
    ASSERT_EQ(image_->info().capacity.n, sectors_);
  }
  void close() { EXPECT_TRUE(registry_.close(std::move(image_))); }

  void write_at_random(int count, unsigned seed) {
    std::mt19937_64 random(seed);
    test::BlockingDisk guest(*image_, engine_);
    for (int i = 0; i < count; ++i) {
      const auto n = 1 + random() % 300;
      const auto first = random() % (sectors_ - n);
      auto data = test::bytes_of(n, 0);
      for (auto& byte : data) byte = static_cast<std::byte>(random());
      ASSERT_EQ(guest.write(first, data), IoStatus::okay);
      std::ranges::copy(data,
                        expected_.begin() + static_cast<std::ptrdiff_t>(first * kSectorBytes));
    }
  }

  void expect_content() {
    test::BlockingDisk guest(*image_, engine_);
    for (std::uint64_t first = 0; first < sectors_; first += 1024) {
      const auto n = std::min<std::uint64_t>(1024, sectors_ - first);
      const auto part = std::span(expected_).subspan(first * kSectorBytes, n * kSectorBytes);
      ASSERT_TRUE(std::ranges::equal(guest.read(first, n).data, part)) << "from sector " << first;
    }
  }

  void expect_file(const std::string& raw) { EXPECT_TRUE(test::file_bytes(raw) == expected_); }
  void load(const std::string& raw) { expected_ = test::file_bytes(raw); }
  void save(const std::string& raw) const {
    std::ofstream(raw, std::ios::binary)
        .write(reinterpret_cast<const char*>(expected_.data()),
               static_cast<std::streamsize>(expected_.size()));
  }

 private:
  test::TempDir dir_;
  ImageRegistry registry_;
  std::uint64_t sectors_;
  test::Bytes expected_;
  test::FileEngine engine_;
  std::shared_ptr<Image> image_;
};

constexpr std::uint64_t kSectors = 40000;  // not a multiple of a block

struct Shape {
  const char* name;
  DiskType type;
  std::uint32_t block_bytes;
};

class OurImage : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const auto path = exchange_.path("a.vhd");
    ASSERT_TRUE(create_vhd_file(
        path,
        {.capacity = {kSectors}, .type = GetParam().type, .block_bytes = GetParam().block_bytes}));
    exchange_.open("vhd:" + path);
    exchange_.write_at_random(40, 1);
    exchange_.expect_content();
  }
  Exchange exchange_{kSectors};
};
INSTANTIATE_TEST_SUITE_P(Each, OurImage,
                         ::testing::Values(Shape{"Fixed", DiskType::fixed, 2U << 20},
                                           Shape{"Dynamic", DiskType::dynamic, 2U << 20},
                                           Shape{"SmallBlocks", DiskType::dynamic, 512U << 10},
                                           Shape{"LargeBlocks", DiskType::dynamic, 4U << 20}),
                         [](const auto& param) { return param.param.name; });

TEST_P(OurImage, IsReadByUsAfterItWasClosed) {
  exchange_.close();
  exchange_.open("vhd:" + exchange_.path("a.vhd"));
  exchange_.expect_content();
  exchange_.write_at_random(40, 2);
  exchange_.expect_content();
  exchange_.close();
}

TEST_P(OurImage, IsReadByQemu) {
  REQUIRE_PROGRAM("qemu-img");
  exchange_.close();
  ASSERT_EQ(run("qemu-img convert -f vpc -O raw " + exchange_.path("a.vhd") + " " +
                exchange_.path("out")),
            0);
  exchange_.expect_file(exchange_.path("out"));
  exchange_.save(exchange_.path("expected"));
  EXPECT_EQ(run("qemu-img compare -f vpc -F raw " + exchange_.path("a.vhd") + " " +
                exchange_.path("expected")),
            0);
}

TEST_P(OurImage, IsReadBySevenZip) {
  REQUIRE_PROGRAM("7zz");
  exchange_.close();
  ASSERT_EQ(std::system(("7zz x -tvhd -so " + exchange_.path("a.vhd") + " >" +
                         exchange_.path("out") + " 2>/dev/null")
                            .c_str()),
            0);
  exchange_.expect_file(exchange_.path("out"));
}

TEST_P(OurImage, IsReadByQemuWhenItWasNeverClosed) {
  REQUIRE_PROGRAM("qemu-img");
  // As after a kill: the copy is what the file is right now.
  ASSERT_EQ(
      run("cp --sparse=always " + exchange_.path("a.vhd") + " " + exchange_.path("killed.vhd")), 0);
  exchange_.close();
  ASSERT_EQ(run("qemu-img convert -f vpc -O raw " + exchange_.path("killed.vhd") + " " +
                exchange_.path("out")),
            0);
  exchange_.expect_file(exchange_.path("out"));
}

struct QemuShape {
  const char* name;
  const char* options;
};
class QemuImage : public ::testing::TestWithParam<QemuShape> {};
INSTANTIATE_TEST_SUITE_P(Each, QemuImage,
                         ::testing::Values(QemuShape{"Fixed", "subformat=fixed,force_size=on"},
                                           QemuShape{"Dynamic", "subformat=dynamic,force_size=on"}),
                         [](const auto& param) { return param.param.name; });

TEST_P(QemuImage, IsServedAndStaysReadableForQemu) {
  REQUIRE_PROGRAM("qemu-img");
  Exchange exchange(kSectors);
  const auto path = exchange.path("q.vhd");
  const auto raw = exchange.path("source");
  ASSERT_EQ(run("qemu-img create -f raw " + raw + " " + std::to_string(kSectors * 512)), 0);
  ASSERT_EQ(run("qemu-io -f raw -c 'write -P 17 1M 3M' -c 'write -P 18 9999k 70k' " + raw), 0);
  ASSERT_EQ(run("qemu-img convert -f raw -O vpc -o " + std::string(GetParam().options) + " " + raw +
                " " + path),
            0);
  exchange.load(raw);
  exchange.open("vhd:" + path);
  exchange.expect_content();
  exchange.write_at_random(60, 3);
  exchange.expect_content();
  exchange.close();
  ASSERT_EQ(run("qemu-img convert -f vpc -O raw " + path + " " + exchange.path("out")), 0);
  exchange.expect_file(exchange.path("out"));
}

TEST(QemuImage, HasTheSizeOfItsGeometryWithoutForceSize) {
  REQUIRE_PROGRAM("qemu-img");
  Exchange exchange(10514432 / 512);
  ASSERT_EQ(run("qemu-img create -f vpc " + exchange.path("q.vhd") + " 10M"), 0);
  exchange.open("vhd:" + exchange.path("q.vhd"), Access::read_only);
  exchange.close();
}

// --- images that others made ---

std::string samples() {
  const char* set = std::getenv("XENBLK_VHD_SAMPLES");
  if (set != nullptr) return set;
  const auto checkout = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  const auto folder = checkout.parent_path() / "shared" / "vhd-samples";
  if (std::filesystem::exists(folder)) return folder;
  return {};
}

struct Sample {
  const char* name;     // of the packed file
  std::uint64_t bytes;  // that the guest sees; 0: refused
  const char* sha256;   // of them, or the error
};

class SampleImage : public ::testing::TestWithParam<Sample> {
 protected:
  // Unpacked beside nothing else; empty when the sample is not there.
  std::string unpack() {
    const auto packed = samples() + "/" + GetParam().name;
    if (samples().empty() || !std::filesystem::exists(packed)) return {};
    const bool bzip = packed.ends_with(".bz2");
    const auto path = dir_.path("sample");
    const auto how = bzip ? "bzip2 -dc " : "gzip -dc ";
    return std::system((how + packed + " >" + path).c_str()) == 0 ? path : "";
  }
  test::TempDir dir_;
};
INSTANTIATE_TEST_SUITE_P(
    Each, SampleImage,
    ::testing::Values(Sample{"d2v-zerofilled.vhd.bz2", 263454720,
                             "1ba076be94a8a64541c25aae8d5a5f8b0da758c3797af597e03acb431ff8d143"},
                      Sample{"ext2.vhd.gz", 4212736,
                             "870be7ae16c1fa8faab05c6eb9205dc9a7ae35c5f552c5cf8a267c0bc6a5cb99"},
                      // All zeroes; hashing 127 GiB takes too long, so only the size is compared.
                      Sample{"virtualpc-dynamic.vhd.bz2", 136363130880, ""},
                      Sample{"hyperv2012r2-dynamic.vhd.bz2", 136365211648, ""},
                      Sample{"afl5.img.bz2", 0,
                             "header's offset 0x200 is not a sector within the file"},
                      Sample{"fat-differential.vhd.gz", 0, ": No such file or directory"},
                      Sample{"image.vhd.gz", 0, "checksum is 0xfffff683, not 0xffffef25"},
                      Sample{"image-differential.vhd.gz", 0, "checksum is"}),
    [](const auto& param) {
      std::string name = param.param.name;
      std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
      return name;
    });

TEST_P(SampleImage, IsServedAsItsMakerMeantOrRefused) {
  const auto path = unpack();
  if (path.empty()) {
    std::cout << "*** SKIPPED: no sample " << GetParam().name << " ***\n";
    GTEST_SKIP() << "XENBLK_VHD_SAMPLES is not set";
  }
  ImageRegistry registry;
  auto image = registry.open({Format::vhd, path, {}}, Access::read_only);
  if (GetParam().bytes == 0) {
    ASSERT_FALSE(image);
    EXPECT_NE(image.error().text.find(GetParam().sha256), std::string::npos) << image.error().text;
    return;
  }
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ((*image)->info().capacity.n * 512, GetParam().bytes);
  test::FileEngine engine;
  test::BlockingDisk guest(**image, engine);
  if (*GetParam().sha256 != '\0') {
    std::ofstream out(dir_.path("out"), std::ios::binary);
    for (std::uint64_t first = 0; first < GetParam().bytes / 512; first += 2048) {
      const auto n = std::min<std::uint64_t>(2048, GetParam().bytes / 512 - first);
      const auto data = guest.read(first, n).data;
      out.write(reinterpret_cast<const char*>(data.data()),
                static_cast<std::streamsize>(data.size()));
    }
    out.close();
    EXPECT_EQ(
        run("echo " + std::string(GetParam().sha256) + " " + dir_.path("out") + " | sha256sum -c"),
        0);
  }
  EXPECT_EQ(guest.read(GetParam().bytes / 512 - 8, 8).data.size(), 4096U);
  EXPECT_TRUE(registry.close(std::move(*image)));
}

}  // namespace
}  // namespace xenblk::vhd
