// Chains as files of the host, for what is only there: paths, locks, files that appear and vanish,
// journals beside an image. Slow, since each step waits for a disk.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/fuzz/chain.h"
#include "tests/fuzz/session.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/image_registry.h"
#include "vhd/operations/children.h"
#include "vhd/operations/coalesce.h"
#include "vhd/operations/copy.h"
#include "vhd/operations/host_images.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::fuzz {
namespace {

void save(const MemoryContent& content, const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  FUZZ_EXPECT(file >= 0);
  for (const auto& [number, page] : content.pages) {
    const auto offset = static_cast<off_t>(number * kPageBytes);
    FUZZ_EXPECT(::pwrite(file, page.data(), page.size(), offset) == std::ssize(page));
  }
  FUZZ_EXPECT(::ftruncate(file, static_cast<off_t>(content.size_bytes)) == 0);
  ::close(file);
}

class HostLab {
 public:
  HostLab(const Files& files, const Built& built)
      : map_(0),
        places_{built.capacity_sectors - 1},
        block_sectors_(built.block_sectors),
        on_raw_(built.on_raw) {
    map_.know(built.sectors);
    for (const auto& file : files) save(file, path(levels_++));
  }

  void step(Reader& reader) {
    const auto kind = reader.u8();
    switch (kind % 8) {
      case 0:
        write(reader);
        break;
      case 1:
        snapshot();
        break;
      case 2:
        coalesce();
        break;
      case 3:
        ignore(vhd::relink_host_image(path(leaf()), path(leaf() - std::min(1U, leaf()))));
        break;
      case 4:
        resize(reader);
        break;
      case 5:
        ignore(vhd::repair_host_image(path(leaf())));
        break;
      case 6:
        use_twice();
        break;
      default:
        std::filesystem::remove(link());
        std::filesystem::create_symlink(path(leaf()), link());
        break;
    }
    read_all();
  }

  void read_all() {
    auto image = open(Access::read_only);
    FUZZ_EXPECT_OK(image);
    {
      ShuffledEngine engine(1, 0);
      Session(**image, map_, engine).read_all(places_);
    }
    FUZZ_EXPECT_OK(registry_.close(std::move(*image)));
  }

 private:
  std::string path(unsigned level) const { return dir_.path(name_of_level(level)); }
  std::string link() const { return dir_.path("link.vhd"); }
  unsigned leaf() const { return levels_ - 1; }

  vhd::Format format() const {
    return on_raw_ && leaf() == 0 ? vhd::Format::raw : vhd::Format::vhd;
  }

  // Refused with a reason, or done; what must hold is looked at afterwards.
  template <class T>
  static void ignore(const Expected<T>& result) {
    if (!result) FUZZ_EXPECT(!result.error().text.empty());
  }

  Expected<std::shared_ptr<Image>> open(Access access) {
    const bool by_link = std::filesystem::exists(link());
    return registry_.open({format(), by_link ? link() : path(leaf()), {}}, access);
  }

  void write(Reader& reader) {
    auto image = open(Access::read_write);
    if (!image) return;
    {
      ShuffledEngine engine(reader.u8(), 0);
      Reader part(reader.bytes(reader.u8() % 32));
      Session(**image, map_, engine).run(part, block_sectors_);
    }
    FUZZ_EXPECT_OK(registry_.close(std::move(*image)));
  }

  // A reader of an image that is open for writing sees what is written.
  void use_twice() {
    auto writer = open(Access::read_write);
    if (!writer) return;
    auto reader = open(Access::read_only);
    FUZZ_EXPECT_OK(reader);
    {
      ShuffledEngine engine(1, 0);
      Session(**reader, map_, engine).read_all(places_);
    }
    ignore(vhd::make_snapshot({path(leaf()), dir_.path("no.vhd"), {}}, format()));
    ignore(vhd::repair_host_image(path(leaf())));
    FUZZ_EXPECT_OK(registry_.close(std::move(*reader)));
    FUZZ_EXPECT_OK(registry_.close(std::move(*writer)));
  }

  void snapshot() {
    constexpr unsigned kLevelsMax = 5;
    if (levels_ == kLevelsMax) return;
    const auto made = vhd::make_snapshot({path(leaf()), path(levels_), {}}, format());
    if (!made) return ignore(made);
    std::filesystem::remove(link());
    ++levels_;
  }

  void coalesce() {
    const auto merged = vhd::coalesce_host_image(
        path(leaf()), {.raw_parents = true},
        [](Image& child, Image& parent, const std::string&) { return copy_layer(child, parent); });
    if (!merged) return ignore(merged);
    std::filesystem::remove(link());
    --levels_;
  }

  static Expected<void> copy_layer(Image& child, Image& parent) {
    ShuffledEngine engine(1, 0);
    vhd::Copy copy(child, parent, engine,
                   {.target_content = vhd::TargetContent::parent, .chunk = {64}, .requests = 2});
    copy.start();
    while (!copy.is_finished() && engine.poll()) {
    }
    FUZZ_EXPECT(copy.is_finished());
    return copy.result();
  }

  void resize(Reader& reader) {
    auto image = open(Access::read_only);
    FUZZ_EXPECT_OK(image);
    const auto before = (*image)->info().capacity.n;
    FUZZ_EXPECT_OK(registry_.close(std::move(*image)));
    const auto target = before + reader.u16() - std::min<std::uint64_t>(before, 0x8000);
    const auto resized = vhd::resize_host_image(path(leaf()), {target});
    if (resized) map_.forget_from(std::min(before, target));
    ignore(resized);
  }

  test::TempDir dir_;
  vhd::ImageRegistry registry_{{.raw_parents = true}};
  SectorMap map_;
  std::array<std::uint64_t, 1> places_;
  std::uint64_t block_sectors_;
  unsigned levels_ = 0;
  const bool on_raw_;
};

void use_null(std::uint64_t sectors) {
  vhd::ImageRegistry registry;
  auto image = registry.open({vhd::Format::null, {}, {sectors}}, Access::read_write);
  FUZZ_EXPECT_OK(image);
  {
    SectorMap map(0);
    ShuffledEngine engine(1, 0);
    Session(**image, map, engine).read_all({});
  }
  FUZZ_EXPECT_OK(registry.close(std::move(*image)));
}

}  // namespace

void host_files(Input input) {
  Reader reader(input);
  use_null(1 + input.size());
  Files files;
  const auto built = build_chain(reader, files);
  if (built.refused) return;
  HostLab lab(files, built);
  lab.read_all();
  constexpr int kStepsMax = 8;
  for (int step = 0; step < kStepsMax && !reader.empty(); ++step) lab.step(reader);
}

}  // namespace xenblk::fuzz
