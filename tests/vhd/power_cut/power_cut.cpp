#include "tests/vhd/power_cut/power_cut.h"

#include <memory>

#include "tests/vhd/power_cut/after_crash.h"
#include "tests/vhd/power_cut/guest_work.h"
#include "tests/vhd/power_cut/operation.h"
#include "tests/vhd/power_cut/sabotage.h"
#include "tests/vhd/power_cut/scenario.h"

namespace xenblk::power_cut {
namespace {

// One life of the files: from what a crash left to the next one.
class Life {
 public:
  Life(const PowerCutPlan& plan, DiskState& state, SimStorage& storage, SectorModel& model,
       PowerCutResult& result)
      : plan_(plan),
        state_(state),
        storage_(storage),
        files_(storage),
        model_(model),
        result_(result),
        after_crash_(state, model, storage.random()()) {
    storage_.on_change = [this] { crash_in_every_way(); };
    storage_.is_device = state.scenario.on_device;
    if (plan.faults) inject_faults();
    if (plan.no_holes) refuse_holes();
    sabotage(storage, plan.sabotage);
  }

  void run() {
    if (auto ok = recover_scenario(files_); !ok) fail("cannot recover: " + describe(ok.error()));
    if (state_.operation) operate();
    work(plan_.steps);
    while (goes_on() && !state_.scenario.on_device && storage_.random(3) != 0) {
      begin_operation();
      operate();
      work(plan_.steps / 3);
    }
  }

  // What the next life begins with.
  SimContents end() {
    const bool kill = left_by_kill_.value_or(storage_.random(2) == 0);
    if (!left_by_kill_) leave(kill);
    auto seen = left_;
    fail(after_crash_.look(seen, kill ? Crash::kill : Crash::power_cut));
    if (result_.wrong.empty()) model_.rebase(0, after_crash_.content());
    return std::move(left_);
  }

 private:
  bool goes_on() const { return result_.wrong.empty() && !left_by_kill_; }

  void fail(const std::string& wrong) {
    if (result_.wrong.empty()) result_.wrong = wrong;
  }

  void work(int steps) {
    if (!goes_on()) return;
    auto image = open_scenario(state_.scenario, files_, Access::read_write);
    if (!image) return fail("cannot open: " + describe(image.error()));
    opened_ = true;
    GuestWork work(storage_, model_, **image);
    work.run(steps);
    result_.failed_requests += static_cast<std::uint64_t>(work.failed());
    fail(work.wrong());
    if (storage_.random(2) == 0 && goes_on()) {
      if (auto ok = (*image)->finish(); !ok) fail("cannot finish: " + describe(ok.error()));
    }
    opened_ = false;
  }

  void begin_operation() {
    state_.operation = choose_operation(state_.scenario, state_.sectors, storage_.random());
    if (state_.operation->sectors > state_.sectors) {
      model_.uncover(state_.sectors, state_.operation->sectors - state_.sectors);
    }
  }

  void operate() {
    if (!goes_on()) return;
    const auto done = run_operation(*state_.operation, state_.scenario, files_);
    if (!goes_on()) return;
    if (!done && done.error().code != Errc::refused) {
      return fail(describe(*state_.operation) + ": " + describe(done.error()));
    }
    const auto sectors_before = state_.sectors;
    if (done) {
      complete_operation(*state_.operation, state_.scenario);
      state_.sectors = state_.operation->sectors;
      ++result_.operations;
    }
    state_.operation.reset();
    crash_in_every_way();
    settle(sectors_before);
  }

  // What a larger disk shows behind its old end stays.
  void settle(std::uint64_t sectors_before) {
    if (!goes_on() || state_.sectors <= sectors_before) return;
    fail(after_crash_.look(storage_.kill(), Crash::kill));
    const auto content = after_crash_.content();
    if (goes_on()) model_.rebase(sectors_before, content.subspan(sectors_before * kSectorBytes));
    storage_.crash_over();
  }

  void crash_in_every_way() {
    if (!goes_on()) return;
    kill();
    cut(Remains::everything);
    if (!storage_.is_settled()) {
      cut(Remains::nothing);
      cut(Remains::all_but_one);
      cut(Remains::one_alone);
      cut(Remains::any);
    }
    // Now and then it is not done again at once, but in the next life.
    if (state_.operation && goes_on() && storage_.random(60) == 0) leave(storage_.random(2) == 0);
  }

  void kill() {
    ++result_.kills;
    const auto wrong = after_crash_.check(storage_.kill(), Crash::kill);
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

  void leave(bool by_kill) {
    left_by_kill_ = by_kill;
    left_ = by_kill ? storage_.kill() : storage_.power_cut(Remains::any);
    for (auto& content : left_) content.forget_mark();
    storage_.crash_over();
  }

  void inject_faults() {
    storage_.fault = [this](const IoOp&) {
      const auto dice = opened_ ? storage_.random(60) : 60;
      return dice == 0 ? EIO : dice == 1 ? ENOSPC : 0;
    };
  }

  void refuse_holes() {
    storage_.fault = [](const IoOp& op) { return op.kind == IoKind::punch_hole ? EOPNOTSUPP : 0; };
  }

  const PowerCutPlan& plan_;
  DiskState& state_;
  SimStorage& storage_;
  StorageFiles files_;
  SectorModel& model_;
  PowerCutResult& result_;
  AfterCrash after_crash_;
  bool opened_ = false;
  std::optional<bool> left_by_kill_;  // or by a power cut
  SimContents left_;
};

std::string describe(const DiskState& state) {
  auto text =
      describe(state.scenario) + ", chain of " + std::to_string(state.scenario.chain.size());
  if (state.operation) text += ", " + describe(*state.operation);
  return text;
}

}  // namespace

PowerCutResult run_power_cuts(const PowerCutPlan& plan) {
  PowerCutResult result;
  std::mt19937_64 random(plan.seed);
  DiskState state{.scenario = choose_scenario(random, plan.kind)};
  state.sectors = state.scenario.sectors;
  SectorModel model(state.scenario.sectors_max);
  auto contents = make_scenario(state.scenario, random, model);
  for (int life = 0; life < plan.lives && result.wrong.empty(); ++life) {
    SimStorage storage(random(), std::move(contents));
    Life now(plan, state, storage, model, result);
    now.run();
    if (result.wrong.empty()) contents = now.end();
  }
  if (!result.wrong.empty()) result.wrong += " (" + describe(state) + ")";
  return result;
}

}  // namespace xenblk::power_cut
