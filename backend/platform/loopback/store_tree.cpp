#include "backend/platform/loopback/store_tree.h"

#include <algorithm>
#include <atomic>

namespace xenblk::loopback {
namespace {

// Shared by all trees: a transaction's copy must not reuse a number of the tree it was copied from.
std::uint64_t next_generation() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

NodeRights rights_of(DomainId who, const std::vector<NodePermission>& permissions) {
  if (who.n == 0 || permissions.front().domain == who) return NodeRights::both;
  const auto exception = std::find_if(permissions.begin() + 1, permissions.end(),
                                      [&](const auto& entry) { return entry.domain == who; });
  return exception == permissions.end() ? permissions.front().rights : exception->rights;
}

bool allows(NodeRights rights, NodeRights needed) {
  return rights == NodeRights::both || rights == needed || needed == NodeRights::none;
}

std::string children_prefix(std::string_view path) {
  return path == "/" ? "/" : std::string(path) + "/";
}

}  // namespace

bool may_read(DomainId who, const std::vector<NodePermission>& permissions) {
  return allows(rights_of(who, permissions), NodeRights::read);
}

std::string_view parent_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

bool is_within(std::string_view path, std::string_view ancestor) {
  if (path == ancestor || ancestor == "/") return true;
  return path.starts_with(ancestor) && path[ancestor.size()] == '/';
}

StoreTree::StoreTree() {
  StoreNode root{.permissions = {{{0}, NodeRights::read}}};
  touch(root);
  nodes_.emplace("/", std::move(root));
}

Expected<std::string> StoreTree::read(DomainId who, std::string_view path) const {
  const auto node = get(who, path, NodeRights::read);
  if (!node) return std::unexpected(node.error());
  return (*node)->value;
}

Expected<std::vector<std::string>> StoreTree::list(DomainId who, std::string_view path) const {
  const auto node = get(who, path, NodeRights::read);
  if (!node) return std::unexpected(node.error());
  const std::string prefix = children_prefix(path);
  std::vector<std::string> names;
  for (auto at = nodes_.upper_bound(prefix); at != nodes_.end() && at->first.starts_with(prefix);
       ++at) {
    const auto name = std::string_view(at->first).substr(prefix.size());
    if (!name.contains('/')) names.emplace_back(name);
  }
  return names;
}

Expected<std::vector<NodePermission>> StoreTree::permissions(DomainId who,
                                                             std::string_view path) const {
  const auto node = get(who, path, NodeRights::read);
  if (!node) return std::unexpected(node.error());
  return (*node)->permissions;
}

Expected<StoreChanges> StoreTree::write(DomainId who, std::string_view path,
                                        std::string_view value) {
  const auto found = get(who, path, NodeRights::write);
  if (!found && found.error().code != Errc::not_found) return std::unexpected(found.error());
  if (!found) create(who, std::string(path));
  StoreNode& node = nodes_.find(path)->second;
  node.value = value;
  touch(node);
  return StoreChanges{{.path = std::string(path), .permissions = node.permissions}};
}

Expected<StoreChanges> StoreTree::remove(DomainId who, std::string_view path) {
  const auto found = get(who, path, NodeRights::write);
  if (!found) return std::unexpected(found.error());
  if (path == "/") return fail(Errc::io, "the root of XenStore cannot be removed", EINVAL);
  note(parent_of(path));
  StoreChanges changes;
  const std::string prefix = children_prefix(path);
  for (auto at = nodes_.find(path); at != nodes_.end();) {
    note(at->first);
    changes.push_back(
        {at->first, at->first == path ? StoreChange::Kind::named : StoreChange::Kind::below_removed,
         at->second.permissions});
    nodes_.erase(at);
    at = nodes_.lower_bound(prefix);
    if (at != nodes_.end() && !at->first.starts_with(prefix)) break;
  }
  touch(nodes_.find(parent_of(path))->second);
  return changes;
}

Expected<StoreChanges> StoreTree::set_permissions(DomainId who, std::string_view path,
                                                  std::vector<NodePermission> permissions) {
  const auto found = get(who, path, NodeRights::write);
  if (!found) return std::unexpected(found.error());
  if (permissions.empty()) return fail(Errc::io, "a node needs an owner", EINVAL);
  StoreNode& node = nodes_.find(path)->second;
  const bool owns = who.n == 0 || node.permissions.front().domain == who;
  if (!owns || (who.n != 0 && permissions.front().domain != who)) {
    return fail(Errc::permission, std::string(path), EACCES);
  }
  node.permissions = std::move(permissions);
  touch(node);
  return StoreChanges{{.path = std::string(path), .permissions = node.permissions}};
}

bool StoreTree::unchanged(const AccessLog& log) const {
  return std::ranges::all_of(
      log, [&](const auto& entry) { return generation(entry.first) == entry.second; });
}

std::optional<std::uint64_t> StoreTree::generation(std::string_view path) const {
  const auto found = nodes_.find(path);
  if (found == nodes_.end()) return std::nullopt;
  return found->second.generation;
}

void StoreTree::note(std::string_view path) const {
  // The first access counts: later ones see what the transaction itself did.
  if (log_ != nullptr) log_->emplace(path, generation(path));
}

// As xenstored: whether a missing node is "missing" or "forbidden" depends on its nearest ancestor.
Expected<const StoreNode*> StoreTree::get(DomainId who, std::string_view path,
                                          NodeRights needed) const {
  note(path);
  auto found = nodes_.find(path);
  const bool exists = found != nodes_.end();
  for (auto above = path; found == nodes_.end(); found = nodes_.find(above)) {
    above = parent_of(above);
    note(above);
  }
  if (!allows(rights_of(who, found->second.permissions), needed)) {
    return fail(Errc::permission, std::string(path), EACCES);
  }
  if (!exists) return fail(Errc::not_found, std::string(path), ENOENT);
  return &found->second;
}

// Missing parents come with it. Permissions are the parent's, but an unprivileged creator becomes
// owner.
void StoreTree::create(DomainId who, const std::string& path) {
  const std::string above(parent_of(path));
  if (!nodes_.contains(above)) create(who, above);
  StoreNode& parent = nodes_.find(above)->second;
  StoreNode node{.permissions = parent.permissions};
  if (who.n != 0) node.permissions.front().domain = who;
  touch(node);
  touch(parent);
  nodes_.emplace(path, std::move(node));
}

void StoreTree::touch(StoreNode& node) {
  node.generation = next_generation();
}

}  // namespace xenblk::loopback
