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

std::string_view name_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// Takes the first name off a path without its leading slash.
std::string_view next_name(std::string_view& rest) {
  const auto name = rest.substr(0, rest.find('/'));
  rest.remove_prefix(std::min(rest.size(), name.size() + 1));
  return name;
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
  root_ = std::make_shared<Branch>();
  root_->node.permissions = {{{0}, NodeRights::read}};
  touch(root_->node);
}

Expected<std::string> StoreTree::read(DomainId who, std::string_view path) const {
  const auto node = get(who, path, NodeRights::read);
  if (!node) return std::unexpected(node.error());
  return (*node)->value;
}

Expected<std::vector<std::string>> StoreTree::list(DomainId who, std::string_view path) const {
  const auto node = get(who, path, NodeRights::read);
  if (!node) return std::unexpected(node.error());
  std::vector<std::string> names;
  for (const auto& [name, child] : find(path)->children) names.push_back(name);
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
  StoreNode& node = (found ? own(path) : create(who, path)).node;
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
  Branch& parent = own(parent_of(path));
  const auto at = parent.children.find(name_of(path));
  removed(std::string(path), *at->second, StoreChange::Kind::named, changes);
  parent.children.erase(at);
  touch(parent.node);
  return changes;
}

void StoreTree::removed(const std::string& path, const Branch& branch, StoreChange::Kind kind,
                        StoreChanges& changes) const {
  note(path);
  changes.push_back({path, kind, branch.node.permissions});
  for (const auto& [name, child] : branch.children) {
    removed(path + "/" + name, *child, StoreChange::Kind::below_removed, changes);
  }
}

Expected<StoreChanges> StoreTree::set_permissions(DomainId who, std::string_view path,
                                                  std::vector<NodePermission> permissions) {
  const auto found = get(who, path, NodeRights::write);
  if (!found) return std::unexpected(found.error());
  if (permissions.empty()) return fail(Errc::io, "a node needs an owner", EINVAL);
  StoreNode& node = own(path).node;
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
  const auto* found = find(path);
  if (found == nullptr) return std::nullopt;
  return found->node.generation;
}

const StoreTree::Branch* StoreTree::find(std::string_view path) const {
  const Branch* at = root_.get();
  for (auto rest = path.substr(1); !rest.empty();) {
    const auto child = at->children.find(next_name(rest));
    if (child == at->children.end()) return nullptr;
    at = child->second.get();
  }
  return at;
}

// A node that exists, to be changed: it and all above it are this tree's alone from then on.
StoreTree::Branch& StoreTree::own(std::string_view path) {
  Branch* at = &own(root_);
  for (auto rest = path.substr(1); !rest.empty();) {
    at = &own(at->children.find(next_name(rest))->second);
  }
  return *at;
}

StoreTree::Branch& StoreTree::own(std::shared_ptr<Branch>& branch) {
  if (branch.use_count() > 1) branch = std::make_shared<Branch>(*branch);
  return *branch;
}

void StoreTree::note(std::string_view path) const {
  // The first access counts: later ones see what the transaction itself did.
  if (log_ != nullptr) log_->emplace(path, generation(path));
}

// As xenstored: whether a missing node is "missing" or "forbidden" depends on its nearest ancestor.
Expected<const StoreNode*> StoreTree::get(DomainId who, std::string_view path,
                                          NodeRights needed) const {
  note(path);
  const auto* const here = find(path);
  const auto* nearest = here;
  for (auto above = path; nearest == nullptr; nearest = find(above)) {
    above = parent_of(above);
    note(above);
  }
  if (!allows(rights_of(who, nearest->node.permissions), needed)) {
    return fail(Errc::permission, std::string(path), EACCES);
  }
  if (here == nullptr) return fail(Errc::not_found, std::string(path), ENOENT);
  return &here->node;
}

// Missing parents come with it. Permissions are the parent's, but an unprivileged creator becomes
// owner.
StoreTree::Branch& StoreTree::create(DomainId who, std::string_view path) {
  const auto above = parent_of(path);
  Branch& parent = find(above) == nullptr ? create(who, above) : own(above);
  auto made = std::make_shared<Branch>();
  made->node.permissions = parent.node.permissions;
  if (who.n != 0) made->node.permissions.front().domain = who;
  touch(made->node);
  touch(parent.node);
  return *parent.children.emplace(name_of(path), std::move(made)).first->second;
}

void StoreTree::touch(StoreNode& node) {
  node.generation = next_generation();
}

}  // namespace xenblk::loopback
