#include "tests/vhd/power_cut/power_cut.h"

#include <array>
#include <memory>

#include "tests/vhd/power_cut/after_crash.h"
#include "tests/vhd/power_cut/guest_work.h"
#include "tests/vhd/power_cut/scenario.h"
#include "vhd/create.h"

namespace xenblk::power_cut {
namespace {

// One life of the files: from opening the image to the crash.
class Life {
 public:
  Life(const PowerCutPlan& plan, const Scenario& scenario, SimStorage& storage, SectorModel& model,
       PowerCutResult& result)
      : plan_(plan),
        scenario_(scenario),
        storage_(storage),
        model_(model),
        result_(result),
        after_crash_(scenario, model, storage.random()()) {
    storage_.on_change = [this] { crash_in_every_way(); };
    if (plan.faults) inject_faults();
    sabotage();
  }

  void run() {
    auto image = open_scenario(scenario_, storage_);
    if (!image) return fail("cannot open: " + describe(image.error()));
    opened_ = true;
    GuestWork work(storage_, model_, **image);
    work.run(plan_.steps);
    result_.failed_requests += static_cast<std::uint64_t>(work.failed());
    fail(work.wrong());
    if (storage_.random(2) != 0 || !result_.wrong.empty()) return;
    if (auto ok = (*image)->finish(); !ok) fail("cannot finish: " + describe(ok.error()));
  }

  // What the next life begins with.
  SimContents end() {
    const bool kill = storage_.random(2) == 0;
    auto& contents = kill ? storage_.kill() : storage_.power_cut(Remains::any);
    auto left = contents;
    for (auto& content : left) content.forget_mark();
    storage_.crash_over();
    fail(after_crash_.look(left, kill ? Crash::kill : Crash::power_cut));
    if (result_.wrong.empty()) model_.rebase(after_crash_.content());
    return left;
  }

 private:
  void fail(const std::string& wrong) {
    if (result_.wrong.empty()) result_.wrong = wrong;
  }

  void crash_in_every_way() {
    if (!result_.wrong.empty()) return;
    kill();
    cut(Remains::everything);
    if (storage_.is_settled()) return;
    cut(Remains::nothing);
    cut(Remains::all_but_one);
    cut(Remains::one_alone);
    cut(Remains::any);
  }

  void kill() {
    ++result_.kills;
    auto& contents = storage_.kill();
    const auto wrong = after_crash_.check(contents, Crash::kill);
    fail(wrong.empty() ? wrong : "after a kill: " + wrong);
    if (opened_ && !after_crash_.had_footer_at_end()) fail("after a kill: no footer at the end");
    storage_.crash_over();
  }

  void cut(Remains remains) {
    ++result_.power_cuts;
    const auto wrong = after_crash_.check(storage_.power_cut(remains), Crash::power_cut);
    fail(wrong.empty() ? wrong : "after a power cut: " + wrong);
    storage_.crash_over();
  }

  void inject_faults() {
    storage_.fault = [this](const IoOp&) {
      const auto dice = storage_.random(60);
      return dice == 0 ? EIO : dice == 1 ? ENOSPC : 0;
    };
  }

  void sabotage() {
    switch (plan_.sabotage) {
      case Sabotage::none:
        return;
      case Sabotage::syncs_do_nothing:
        storage_.skips_sync = [](std::size_t, const auto&) { return true; };
        return;
      case Sabotage::syncs_are_skipped:
        storage_.skips_sync = [this](std::size_t, const auto&) { return storage_.random(4) == 0; };
        return;
      case Sabotage::data_is_late:
        storage_.outlives_sync = [](SimChange& change) {
          return is_data(change) && change.syncs_outlived++ == 0;
        };
        return;
      case Sabotage::footer_is_not_synced:
        storage_.skips_sync = [](std::size_t, const auto& unsynced) {
          return std::ranges::any_of(unsynced, is_footer_write);
        };
        return;
    }
  }

  // A guest's sectors hold small numbers; bitmaps, tables and footers do not.
  static bool is_data(const SimChange& change) {
    if (change.kind != ChangeKind::write) return false;
    const auto value = value_of(change.content().first<kSectorBytes>());
    return value && *value != 0 && *value < SectorValue{1} << 62;
  }

  static bool is_footer_write(const SimChange& change) {
    return change.kind == ChangeKind::write && change.offset != 0 &&
           change.data.size() == kSectorBytes &&
           std::memcmp(change.data.data(), "conectix", 8) == 0;
  }

  const PowerCutPlan& plan_;
  const Scenario& scenario_;
  SimStorage& storage_;
  SectorModel& model_;
  PowerCutResult& result_;
  AfterCrash after_crash_;
  bool opened_ = false;
};

}  // namespace

PowerCutResult run_power_cuts(const PowerCutPlan& plan) {
  PowerCutResult result;
  std::mt19937_64 random(plan.seed);
  const auto scenario = choose_scenario(random, plan.kind);
  SectorModel model(scenario.sectors);
  auto contents = make_scenario(scenario, random, model);
  for (int life = 0; life < plan.lives && result.wrong.empty(); ++life) {
    SimStorage storage(random(), std::move(contents));
    Life now(plan, scenario, storage, model, result);
    now.run();
    if (result.wrong.empty()) contents = now.end();
  }
  if (!result.wrong.empty()) result.wrong += " (" + describe(scenario) + ")";
  return result;
}

}  // namespace xenblk::power_cut
