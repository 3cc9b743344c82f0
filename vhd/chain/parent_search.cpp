#include "vhd/chain/parent_search.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "vhd/operations/resize.h"

namespace xenblk::vhd {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDepthMax = 64;
// Of each parent: bitmaps of 4 GiB of partial blocks, in blocks of 2 MiB.
constexpr std::uint64_t kBitmapBudgetBytes = 1U << 20;

Expected<std::string> real_path(const std::string& path) {
  std::error_code error;
  auto real = fs::canonical(path, error);
  if (error) return fail_os(error.value(), path);
  return real.string();
}

std::string directory_of(const std::string& path) {
  return fs::path(path).parent_path().string();
}

// A child that is reached through a link may mean its own directory or the link's.
std::vector<std::string> bases_of(const std::string& child) {
  std::vector<std::string> bases;
  if (auto real = real_path(child)) bases.push_back(directory_of(*real));
  auto named = real_path(directory_of(child));
  if (named && std::ranges::find(bases, *named) == bases.end()) bases.push_back(*named);
  return bases;
}

// True for `directory` itself and all below. Both are real paths.
bool is_within(const std::string& path, const std::string& directory) {
  if (directory == "/") return true;
  if (!path.starts_with(directory)) return false;
  return path.size() == directory.size() || path[directory.size()] == '/';
}

// Without the path where the text begins with it: the caller says it, as the child wrote it.
std::string reason_of(const Error& error, const std::string& path) {
  auto reason = describe(error);
  const auto prefix = path + ": ";
  return reason.starts_with(prefix) ? reason.substr(prefix.size()) : reason;
}

std::string hex(const Uuid& uuid) {
  std::string text;
  for (const auto byte : uuid) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

Expected<void> check_uuid(const Level& level, const ParentReference& reference) {
  const auto& uuid = level.facts().uuid;
  if (!uuid || *uuid == reference.uuid) return {};
  return fail(Errc::bad_image,
              fmt::format("its id is {}, not {}", hex(*uuid), hex(reference.uuid)));
}

// One error for all candidates: what there is counts more than what is missing.
std::unexpected<Error> no_candidate(const std::vector<Error>& errors) {
  Error all{.code = Errc::not_found};
  for (const auto& error : errors) {
    if (all.code == Errc::not_found) all.code = error.code;
    if (!all.text.empty()) all.text += "; ";
    all.text += error.text;
  }
  return std::unexpected(std::move(all));
}

}  // namespace

Expected<Levels> ParentSearch::open(const std::string& child, const ParentReference& reference) {
  const auto identity = identify_host_file(child);
  if (!identity) return std::unexpected(identity.error());
  std::vector<FileIdentity> chain{*identity};
  Levels levels;
  std::string path = child;
  auto wanted = std::optional(reference);
  while (wanted) {
    auto parent = levels.size() < kDepthMax
                      ? open_one(path, *wanted, chain)
                      : fail(Errc::unsupported_image,
                             fmt::format("a chain of more than {} parents", kDepthMax));
    if (!parent) {
      if (path != child) parent.error().text = path + ": " + parent.error().text;
      return std::unexpected(parent.error());
    }
    path = parent->path;
    wanted = parent->level->facts().parent;
    chain.push_back(parent->identity);
    levels.push_back(std::move(parent->level));
  }
  return levels;
}

Expected<ParentSearch::Parent> ParentSearch::open_one(const std::string& child,
                                                      const ParentReference& reference,
                                                      const std::vector<FileIdentity>& chain) {
  if (reference.is_raw() && !policy_.raw_parents) {
    return fail(Errc::unsupported_image, "its parent is a raw disk, which is not allowed here");
  }
  if (reference.paths.empty()) return fail(Errc::bad_image, "it names no parent");
  const auto bases = bases_of(child);
  std::vector<Error> errors;
  const auto tried = [&](const std::string& path) {
    auto parent = open_at(path, bases, reference, chain);
    if (!parent) {
      errors.push_back({parent.error().code, 0,
                        fmt::format("parent {}: {}", path, reason_of(parent.error(), path))});
    }
    return parent;
  };
  for (const auto& candidate : reference.paths) {
    if (candidate.path.starts_with('/')) {
      if (auto parent = tried(candidate.path)) return parent;
      continue;
    }
    for (const auto& base : bases) {
      if (auto parent = tried(base + "/" + candidate.path)) return parent;
    }
  }
  return no_candidate(errors);
}

Expected<ParentSearch::Parent> ParentSearch::open_at(const std::string& path,
                                                     const std::vector<std::string>& bases,
                                                     const ParentReference& reference,
                                                     const std::vector<FileIdentity>& chain) {
  const auto real = resolve(path, bases);
  if (!real) return std::unexpected(real.error());
  const auto identity = identify_host_file(*real);
  if (!identity) return std::unexpected(identity.error());
  if (*identity == chain.back()) return fail(Errc::bad_image, "it is the image itself");
  if (std::ranges::find(chain, *identity) != chain.end()) {
    return fail(Errc::bad_image, "the chain comes back to it");
  }
  auto level = open_shared(*real, *identity, reference.is_raw());
  if (!level) return fail(level.error().code, reason_of(level.error(), *real));
  if (auto ok = check_uuid(**level, reference); !ok) return std::unexpected(ok.error());
  return Parent{*identity, path, std::move(*level)};
}

// Block devices are found by links that the system makes, so the link's place counts; of a file it
// is its own.
Expected<std::string> ParentSearch::resolve(const std::string& path,
                                            const std::vector<std::string>& bases) {
  auto real = real_path(path);
  if (!real) return real;
  std::error_code ignored;
  const bool device = fs::is_block_file(*real, ignored);
  const auto directory = device ? real_path(directory_of(path)) : directory_of(*real);
  if (!directory) return directory;
  if (is_allowed(*directory, bases)) return real;
  const auto what = *real == path ? "it" : *real;
  return fail(Errc::permission, what + " is outside the directories that are allowed");
}

bool ParentSearch::is_allowed(const std::string& directory,
                              const std::vector<std::string>& bases) const {
  const auto allows = [&](const std::string& allowed) { return is_within(directory, allowed); };
  if (std::ranges::any_of(bases, allows)) return true;
  return std::ranges::any_of(policy_.directories, [&](const std::string& configured) {
    const auto real = real_path(configured);
    return real && allows(*real);
  });
}

Expected<std::shared_ptr<Level>> ParentSearch::open_shared(const std::string& path,
                                                           const FileIdentity& identity, bool raw) {
  if (auto level = find(identity, raw)) return level;
  auto opened = open_new(path, identity, raw);
  if (!opened) return opened;
  // Another child may have been faster; then the one that it opened is shared.
  if (auto level = find(identity, raw)) return level;
  const std::lock_guard lock(mutex_);
  std::erase_if(shared_, [](const Shared& shared) { return shared.level.expired(); });
  shared_.push_back({identity, raw, *opened});
  return opened;
}

Expected<std::shared_ptr<Level>> ParentSearch::open_new(const std::string& path,
                                                        const FileIdentity& identity, bool raw) {
  if (!raw) {
    if (auto ok = recover_closed_host_image(path); !ok) return std::unexpected(ok.error());
  }
  auto file = open_host_file(path, {.access = Access::read_only, .direct_io = policy_.direct_io});
  if (!file && file.error().code == Errc::locked) {
    if (const auto writer = writer_of_(identity)) {
      return fail(Errc::locked, "in use for writing as " + *writer);
    }
  }
  if (!file) return std::unexpected(file.error());
  if ((*file)->identity() != identity) return fail(Errc::io, "changed while it was opened");
  return open_level(std::move(*file), raw ? Format::raw : Format::vhd, kBitmapBudgetBytes);
}

std::shared_ptr<Level> ParentSearch::find(const FileIdentity& identity, bool raw) {
  const std::lock_guard lock(mutex_);
  for (const auto& shared : shared_) {
    if (shared.identity != identity || shared.raw != raw) continue;
    if (auto level = shared.level.lock()) return level;
  }
  return nullptr;
}

void ParentSearch::forget(const FileIdentity& identity) {
  const std::lock_guard lock(mutex_);
  std::erase_if(shared_, [&](const Shared& shared) { return shared.identity == identity; });
}

void ParentSearch::remember(const FileIdentity& identity, const std::shared_ptr<Level>& level) {
  const std::lock_guard lock(mutex_);
  shared_.push_back({identity, !level->facts().uuid.has_value(), level});
}

bool ParentSearch::is_parent(const FileIdentity& identity) {
  return find(identity, false) != nullptr || find(identity, true) != nullptr;
}

}  // namespace xenblk::vhd
