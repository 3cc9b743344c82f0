// The nodes of XenStore with their permissions: a value, so that a transaction works on a copy. A
// copy shares all nodes until one of the two changes them, so that the tree of a thousand disks
// costs a transaction no more than what it touches. Knows nothing of connections, transactions or
// watches.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenblk/error.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

// xen/include/public/io/xs_wire.h: XENSTORE_PAYLOAD_MAX and XENSTORE_ABS_PATH_MAX.
inline constexpr std::size_t kStorePayloadBytesMax = 4096;
inline constexpr std::size_t kStorePathBytesMax = 3072;

struct StoreNode {
  std::string value;
  std::vector<NodePermission> permissions;
  // Changes whenever the value, the permissions or the set of children does; never used twice.
  std::uint64_t generation = 0;
};

// What a change did to one node, for watches: who could see the node, and whether it is the one
// that was named or vanished with it.
struct StoreChange {
  enum class Kind : std::uint8_t { named, below_removed };
  std::string path;
  Kind kind = Kind::named;
  std::vector<NodePermission> permissions;
};
using StoreChanges = std::vector<StoreChange>;

// Generations of the nodes that a transaction looked at or changed, as they were before; nothing
// for a node that was not there.
using AccessLog = std::map<std::string, std::optional<std::uint64_t>, std::less<>>;

bool may_read(DomainId who, const std::vector<NodePermission>& permissions);

// Movable, copyable. Not thread-safe: StoreServer holds its lock. All paths are absolute and
// canonical.
class StoreTree {
 public:
  StoreTree();

  Expected<std::string> read(DomainId who, std::string_view path) const;
  Expected<std::vector<std::string>> list(DomainId who, std::string_view path) const;
  Expected<std::vector<NodePermission>> permissions(DomainId who, std::string_view path) const;

  Expected<StoreChanges> write(DomainId who, std::string_view path, std::string_view value);
  Expected<StoreChanges> remove(DomainId who, std::string_view path);
  Expected<StoreChanges> set_permissions(DomainId who, std::string_view path,
                                         std::vector<NodePermission> permissions);

  // From now on every access is noted there; nullptr stops that.
  void track(AccessLog* log) { log_ = log; }
  // True when the nodes of the log are as they were when it was written.
  bool unchanged(const AccessLog& log) const;

 private:
  struct Branch;
  using Children = std::map<std::string, std::shared_ptr<Branch>, std::less<>>;
  struct Branch {
    StoreNode node;
    Children children;
  };

  const Branch* find(std::string_view path) const;
  Branch& own(std::string_view path);
  static Branch& own(std::shared_ptr<Branch>& branch);
  void removed(const std::string& path, const Branch& branch, StoreChange::Kind kind,
               StoreChanges& changes) const;
  std::optional<std::uint64_t> generation(std::string_view path) const;
  void note(std::string_view path) const;
  Expected<const StoreNode*> get(DomainId who, std::string_view path, NodeRights needed) const;
  Branch& create(DomainId who, std::string_view path);
  static void touch(StoreNode& node);

  std::shared_ptr<Branch> root_;
  AccessLog* log_ = nullptr;
};

// "/a/b" of "/a/b/c", "/" of "/a".
std::string_view parent_of(std::string_view path);
// True for the node itself and everything below it.
bool is_within(std::string_view path, std::string_view ancestor);

}  // namespace xenblk::loopback
