// Finding and opening what a differencing image is based on. What an image says of its parent may
// be anything, so a parent is taken only from directories that are allowed, and only with the id
// that its child expects. Control path; blocks on files, with no lock held. Any thread.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "vhd/chain/level.h"
#include "vhd/host_file.h"

namespace xenblk::vhd {

struct ParentPolicy {
  bool direct_io = true;
  // Where parents may lie, with all below; beside its child one may always.
  std::vector<std::string> directories;
  bool raw_parents = false;
};

class ParentSearch {
 public:
  // By which name this process has the file open for writing; nothing when it has not.
  using WriterOf = std::function<std::optional<std::string>(const FileIdentity&)>;

  ParentSearch(ParentPolicy policy, WriterOf writer_of)
      : policy_(std::move(policy)), writer_of_(std::move(writer_of)) {}
  ParentSearch(const ParentSearch&) = delete;
  ParentSearch& operator=(const ParentSearch&) = delete;

  // All parents of `child`, which `reference` is from, the nearest first. A parent that is open
  // already is shared. The error names the parent and the reason, and the child if that is itself a
  // parent. not_found: no candidate is there; permission: outside the allowed directories; locked:
  // in use for writing; bad_image: the wrong id, a circle; unsupported_image: too deep, raw.
  Expected<Levels> open(const std::string& child, const ParentReference& reference);

  // Whoever wants this parent from now on has to open it anew: it is about to be written.
  void forget(const FileIdentity& identity);
  // It is only read again: this is shared once more.
  void remember(const FileIdentity& identity, const std::shared_ptr<Level>& level);

  // True while an image in this process is based on the file.
  bool is_parent(const FileIdentity& identity);

 private:
  struct Parent {
    FileIdentity identity;
    std::string path;  // as its child names it
    std::shared_ptr<Level> level;
  };
  struct Shared {
    FileIdentity identity;
    bool raw = false;
    std::weak_ptr<Level> level;
  };

  Expected<Parent> open_one(const std::string& child, const ParentReference& reference,
                            const std::vector<FileIdentity>& chain);
  Expected<Parent> open_at(const std::string& path, const std::vector<std::string>& bases,
                           const ParentReference& reference,
                           const std::vector<FileIdentity>& chain);
  Expected<std::string> resolve(const std::string& path, const std::vector<std::string>& bases);
  bool is_allowed(const std::string& directory, const std::vector<std::string>& bases) const;
  Expected<std::shared_ptr<Level>> open_shared(const std::string& path,
                                               const FileIdentity& identity, bool raw);
  Expected<std::shared_ptr<Level>> open_new(const std::string& path, const FileIdentity& identity,
                                            bool raw);
  std::shared_ptr<Level> find(const FileIdentity& identity, bool raw);

  const ParentPolicy policy_;
  const WriterOf writer_of_;
  std::mutex mutex_;
  std::vector<Shared> shared_;
};

}  // namespace xenblk::vhd
