#include "tests/fuzz/chain.h"

#include <utility>

namespace xenblk::fuzz {
namespace {

constexpr std::uint64_t kBitmapBudgetBytes = 2048;

Expected<std::shared_ptr<vhd::Level>> open_parent(MemoryContent& content,
                                                  const vhd::ParentReference& reference) {
  auto level =
      vhd::open_level(std::make_unique<MemoryFile>(content, Access::read_only),
                      reference.is_raw() ? vhd::Format::raw : vhd::Format::vhd, kBitmapBudgetBytes);
  if (!level) return level;
  const auto& uuid = (*level)->facts().uuid;
  if (uuid && *uuid != reference.uuid) return fail(Errc::bad_image, "another id");
  return level;
}

// The file with the name, of those before `child`.
std::optional<unsigned> number_of(const std::string& path, unsigned child) {
  FUZZ_EXPECT(!path.empty());
  const auto slash = path.rfind('/');
  const auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  for (unsigned level = 0; level < child; ++level) {
    if (name == name_of_level(level)) return level;
  }
  return std::nullopt;
}

Expected<vhd::Levels> open_parents(Files& files, const vhd::ParentReference& reference) {
  vhd::Levels levels;
  auto number = static_cast<unsigned>(files.size() - 1);
  for (auto wanted = std::optional(reference); wanted;) {
    auto parent = find_parent(files, number, *wanted);
    if (!parent) return std::unexpected(parent.error());
    number = parent->number;
    wanted = parent->level->facts().parent;
    levels.push_back(std::move(parent->level));
  }
  return levels;
}

}  // namespace

Expected<FoundParent> find_parent(Files& files, unsigned child,
                                  const vhd::ParentReference& reference) {
  Error error{.code = Errc::not_found, .text = "no file has a name of the parent"};
  for (const auto& candidate : reference.paths) {
    const auto number = number_of(candidate.path, child);
    if (!number) continue;
    auto level = open_parent(files[*number], reference);
    if (level) return FoundParent{*number, std::move(*level)};
    error = level.error();
  }
  return std::unexpected(std::move(error));
}

Built build_chain(Reader& reader, Files& files) {
  const auto shape = reader.u8();
  const bool raw = shape % 8 == 7;
  const auto children = std::max(shape / 8 % 4, raw ? 1 : 0);
  auto built = raw ? build_raw_disk(reader, files.emplace_back())
                   : build_image(reader, files.emplace_back());
  for (int i = 0; i < children; ++i) built = build_child(reader, files.emplace_back(), built);
  return built;
}

Expected<std::unique_ptr<Image>> open_chain(Files& files, Access access,
                                            const vhd::VhdTuning& tuning) {
  return vhd::open_vhd_image(
      std::make_unique<MemoryFile>(files.back(), access), kSectorBytes, tuning,
      [&](const vhd::ParentReference& reference) { return open_parents(files, reference); });
}

Expected<std::unique_ptr<Image>> open_alone(Files& files) {
  return vhd::open_vhd_image(std::make_unique<MemoryFile>(files.back(), Access::read_only),
                             kSectorBytes, {},
                             [](const vhd::ParentReference&) { return vhd::Levels{}; });
}

}  // namespace xenblk::fuzz
