#include "tests/vhd/power_cut/operation.h"

#include "vhd/operations/coalesce.h"
#include "vhd/operations/copy.h"
#include "vhd/operations/relink.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/snapshot.h"
#include "vhd/read_vhd.h"

namespace xenblk::power_cut {
namespace {

std::string name_of_image(std::size_t image) {
  return "image-" + std::to_string(image) + ".vhd";
}

vhd::ParentLink link_to(std::size_t parent) {
  return {uuid_of(parent), {}, {name_of_image(parent), "/" + name_of_image(parent)}};
}

// One of the chain that has another of it below: its place there.
std::size_t place_in(const Scenario& scenario, std::size_t image) {
  const auto found = std::ranges::find(scenario.chain, image);
  return static_cast<std::size_t>(found - scenario.chain.begin());
}

Expected<vhd::VhdContents> read_image(SimFiles& files, std::size_t image) {
  return vhd::read_vhd(*files.open(image, Access::read_only));
}

Expected<void> resize(SimFiles& files, std::size_t image, std::uint64_t sectors) {
  SimJournal journal(files, journal_of(image));
  return vhd::resize_image(*files.open(image, Access::read_write), {sectors}, journal);
}

// As make_new_file() gives it a name only at the end, nobody looks at it before this returns.
Expected<void> make_child(const Scenario& scenario, SimFiles& files, std::size_t child) {
  const auto parent = scenario.chain.front();
  const auto facts =
      vhd::read_parent_facts(*files.open(parent, Access::read_only), vhd::Format::vhd);
  if (!facts) return std::unexpected(facts.error());
  if (auto ok = files.open(parent, Access::read_only)->sync_data(); !ok) return ok;
  files.replace(child, {});
  return vhd::create_vhd(*files.open(child, Access::read_write),
                         {.capacity = facts->capacity,
                          .type = vhd::DiskType::differencing,
                          .block_bytes = facts->block_bytes,
                          .parent = link_to(parent),
                          .uuid = uuid_of(child),
                          .created = vhd::VhdTime{}});
}

// The steps of vhd/operations/coalesce.cpp, in their order.
class SimCoalesce {
 public:
  SimCoalesce(const Scenario& scenario, SimFiles& files, std::size_t child)
      : scenario_(scenario),
        files_(files),
        child_(child),
        parent_(scenario.chain[place_in(scenario, child) + 1]) {}

  Expected<void> run() {
    if (!files_.has(child_)) return {};  // all but forgetting its name was done
    if (auto ok = fit_parent(); !ok) return ok;
    if (auto ok = merge(); !ok) return ok;
    if (const auto place = place_in(scenario_, child_); place > 0) {
      const auto grandchild = scenario_.chain[place - 1];
      if (auto ok = vhd::forget_blocks(*files_.open(child_, Access::read_write)); !ok) return ok;
      if (auto ok = relink(grandchild); !ok) return ok;
    }
    files_.replace(child_, {});
    return {};
  }

 private:
  Expected<void> fit_parent() {
    const auto child = read_image(files_, child_);
    if (!child) return std::unexpected(child.error());
    const auto parent = read_image(files_, parent_);
    if (!parent) return std::unexpected(parent.error());
    if (parent->capacity > child->capacity) return fail(Errc::refused, "the parent is larger");
    if (parent->capacity == child->capacity) return {};
    const auto below = open_levels(scenario_, files_, parent_);
    if (!below) return std::unexpected(below.error());
    if (!below->empty() && parent->capacity < below->front()->facts().capacity) {
      return fail(Errc::refused, "the parent's parent is larger");
    }
    return resize(files_, parent_, child->capacity.n);
  }

  Expected<void> merge() {
    auto parent = open_one(scenario_, files_, parent_, Access::read_write);
    if (!parent) return std::unexpected(parent.error());
    auto child = vhd::open_vhd_image(files_.open(child_, Access::read_write), kSectorBytes, {},
                                     [](const vhd::ParentReference&) { return vhd::Levels{}; });
    if (!child) return std::unexpected(child.error());
    vhd::Copy copy(**child, **parent, files_.engine(),
                   {.target_content = vhd::TargetContent::parent, .chunk = {64}, .requests = 4});
    copy.start();
    while (files_.engine().poll()) {
    }
    if (!copy.result()) return copy.result();
    return (*parent)->finish();
  }

  // After a cut it may be a child of the parent already.
  Expected<void> relink(std::size_t grandchild) {
    const auto contents = read_image(files_, grandchild);
    if (!contents) return std::unexpected(contents.error());
    if (contents->layout->header.parent_uuid != uuid_of(child_)) return {};
    SimJournal journal(files_, journal_of(grandchild));
    return vhd::relink_child(*files_.open(grandchild, Access::read_write), link_to(parent_),
                             journal);
  }

  const Scenario& scenario_;
  SimFiles& files_;
  const std::size_t child_;
  const std::size_t parent_;
};

}  // namespace

Operation choose_operation(const Scenario& scenario, std::uint64_t sectors,
                           std::mt19937_64& random) {
  const auto& chain = scenario.chain;
  const bool can_merge = chain.size() > 1;
  const bool can_snapshot = chain.size() < kImages;
  const auto dice = random() % 3;
  if (can_snapshot && (dice == 0 || (dice == 1 && !can_merge))) {
    std::size_t free = 0;
    while (std::ranges::find(chain, free) != chain.end()) ++free;
    return {OperationKind::snapshot, sectors, free};
  }
  if (can_merge && dice <= 1) {
    return {OperationKind::coalesce, sectors, chain[random() % (chain.size() - 1)]};
  }
  const auto smallest = random() % 2 == 0 ? sectors : sectors - sectors / 4;
  return {OperationKind::resize, smallest + random() % (scenario.sectors_max - smallest + 1)};
}

std::string describe(const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::resize:
      return "resize to " + std::to_string(operation.sectors) + " sectors";
    case OperationKind::snapshot:
      return "snapshot";
    case OperationKind::coalesce:
      return "coalesce of image " + std::to_string(operation.image);
  }
  return {};
}

Expected<void> run_operation(const Operation& operation, const Scenario& scenario,
                             SimFiles& files) {
  switch (operation.kind) {
    case OperationKind::resize:
      return resize(files, scenario.chain.front(), operation.sectors);
    case OperationKind::snapshot:
      return make_child(scenario, files, operation.image);
    case OperationKind::coalesce:
      return SimCoalesce(scenario, files, operation.image).run();
  }
  return {};
}

void complete_operation(const Operation& operation, Scenario& scenario) {
  if (operation.kind == OperationKind::snapshot) {
    scenario.chain.insert(scenario.chain.begin(), operation.image);
  }
  if (operation.kind == OperationKind::coalesce) std::erase(scenario.chain, operation.image);
}

}  // namespace xenblk::power_cut
