// What a journal says, as a table: values in, decision or exact error out.
#include "ringio/journal_recovery.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "ringio/in_flight_journal.h"
#include "tests/vhd/temp_dir.h"

namespace xenblk::ringio {
namespace {

constexpr std::uint32_t kEntries = 32;

class Recovery : public testing::Test {
 protected:
  // Request `number` stands in the entry of that number.
  void taken(std::uint64_t number) { entries_[number % kEntries].number = number; }
  void answered(std::uint64_t number, std::uint64_t response,
                blkif::Status status = blkif::Status::okay) {
    taken(number);
    entries_[number % kEntries].answer = pack({response, status});
  }
  std::string error() { return recover(header_, entries_, ring_).error().text; }
  JournalRecovery found() {
    auto recovery = recover(header_, entries_, ring_);
    EXPECT_TRUE(recovery.has_value()) << describe(recovery.error());
    return recovery.value_or(JournalRecovery{});
  }
  std::string refusal() {
    return judge_journal(header_, bytes_, identity_, kEntries, ring_).error().text;
  }

  JournalIdentity identity_{.domain = 7, .device = 51712, .queue = 1, .port = 9, .ring_pages = 1};
  JournalHeader header_{.identity = identity_, .entries = kEntries};
  std::vector<JournalEntry> entries_ =
      std::vector<JournalEntry>(kEntries, {.number = JournalEntry::kNoNumber});
  RingIndices ring_;
  std::size_t bytes_ = journal_bytes(kEntries);
};

TEST_F(Recovery, FindsWhatIsOpenInTheOrderOfTaking) {
  header_.consumed = 44, header_.published = 40;
  ring_ = {50, 40};
  for (const std::uint64_t number : {43, 40, 42, 41}) taken(number);
  EXPECT_EQ(found().in_flight, (std::vector<std::uint16_t>{8, 9, 10, 11}));
  EXPECT_EQ(found().free.size(), kEntries - 4);
}

TEST_F(Recovery, FindsAnswersThatTheGuestDoesNotSeeInTheirOrder) {
  header_.consumed = 3, header_.published = 0;
  answered(0, 1, blkif::Status::error);
  answered(2, 0);
  taken(1);
  const auto recovery = found();
  ASSERT_EQ(recovery.unpublished.size(), 2U);
  EXPECT_EQ(recovery.unpublished[0].entry, 2);
  EXPECT_EQ(recovery.unpublished[1].answer, (JournalAnswer{1, blkif::Status::error}));
  EXPECT_EQ(recovery.in_flight, std::vector<std::uint16_t>{1});
}

TEST_F(Recovery, BelievesTheRingThatAnAnswerIsVisible) {
  header_.consumed = 3, header_.published = 0;
  answered(0, 1);
  answered(2, 0);
  taken(1);
  ring_ = {3, 2};
  EXPECT_TRUE(found().unpublished.empty());
  EXPECT_EQ(found().published, 2U);
  EXPECT_EQ(found().free.size(), kEntries - 1);
}

TEST_F(Recovery, LeavesARequestInTheRingThatWasAboutToBeTaken) {
  header_.consumed = 5, header_.published = 5;
  ring_ = {6, 5};
  taken(5);
  EXPECT_TRUE(found().in_flight.empty());
  EXPECT_EQ(found().consumed, 5U);
}

TEST_F(Recovery, WorksWhereTheRingsIndicesWrap) {
  header_.consumed = (std::uint64_t{1} << 32) + 1, header_.published = (std::uint64_t{1} << 32) - 1;
  answered((std::uint64_t{1} << 32) - 1, (std::uint64_t{1} << 32) - 1);
  taken(std::uint64_t{1} << 32);
  ring_ = {2, 0};
  EXPECT_EQ(found().published, std::uint64_t{1} << 32);
  EXPECT_EQ(found().in_flight, std::vector<std::uint16_t>{0});
}

TEST_F(Recovery, TakesARingWhoseResponsesHaveJustWrappedForTheSameRing) {
  constexpr std::uint64_t kWrap = std::uint64_t{1} << 32;
  ring_ = {2, 0};
  // Killed between the ring's index and its note, and between two operations.
  for (const std::uint64_t published : {kWrap - 1, kWrap}) {
    header_.consumed = kWrap + 2, header_.published = published;
    const auto verdict = judge_journal(header_, bytes_, identity_, kEntries, ring_);
    ASSERT_TRUE(verdict.has_value());
    EXPECT_EQ(verdict->use, JournalUse::recover) << published;
  }
  header_.consumed = header_.published = kWrap - 1;
  EXPECT_EQ(judge_journal(header_, bytes_, identity_, kEntries, ring_)->use, JournalUse::begin_at);
}

TEST_F(Recovery, RefusesWhatNoDaemonWrites) {
  header_.consumed = 3, header_.published = 0;
  EXPECT_EQ(error(), "the journal is damaged: requests are missing");
  answered(0, 0), answered(1, 2), taken(2);
  EXPECT_EQ(error(), "the journal is damaged: responses are missing");
  answered(1, 0);
  EXPECT_EQ(error(), "the journal is damaged: responses are missing");
  entries_[1].answer = 3;
  EXPECT_EQ(error(), "the journal is damaged: impossible answer");
  header_.published = 4;
  EXPECT_EQ(error(), "the journal is damaged: impossible counts");
  header_ = {.entries = kEntries, .consumed = 100};
  EXPECT_EQ(error(), "the journal is damaged: impossible counts");
  header_.consumed = 2;
  entries_.assign(kEntries, {.number = JournalEntry::kNoNumber});
  entries_[4].number = entries_[5].number = 1;
  EXPECT_EQ(error(), "the journal is damaged: requests are missing");
}

TEST_F(Recovery, RefusesARingThatStandsElsewhere) {
  header_.consumed = 41, header_.published = 40;
  taken(40);
  for (const std::uint32_t elsewhere : {39U, 41U, 4000000000U}) {
    ring_ = {41, elsewhere};
    EXPECT_EQ(error(), "the ring's responses do not end where the journal left them");
  }
}

TEST_F(Recovery, RefusesWhatIsNotTheJournalOfThisConnection) {
  header_.identity.port = 10;
  EXPECT_EQ(refusal(), "the journal is that of another connection");
  header_ = {.magic = 1, .identity = identity_, .entries = kEntries};
  EXPECT_EQ(refusal(), "the journal is damaged: this is no journal");
  header_ = {.identity = identity_, .entries = kEntries * 2};
  EXPECT_EQ(refusal(), "the journal is damaged: wrong size");
  header_.entries = kEntries, bytes_ -= 1;
  EXPECT_EQ(refusal(), "the journal is damaged: wrong size");
  header_.state = JournalState{7};
  EXPECT_EQ(refusal(), "the journal is damaged: unknown state");
}

TEST_F(Recovery, TakesOverFromAnyVersionThatEndedInGoodOrder) {
  header_ = {.version = 9,
             .state = JournalState::drained,
             .identity = identity_,
             .drained_at = 77,
             .entries = 5};
  ring_ = {80, 77};
  const auto verdict = judge_journal(header_, 4000, identity_, kEntries, ring_);
  ASSERT_TRUE(verdict.has_value());
  EXPECT_EQ(verdict->use, JournalUse::begin_at);
  EXPECT_EQ(verdict->index, 77U);
  ring_ = {80, 78};
  EXPECT_EQ(refusal(), "the ring's responses do not end where the journal left them");
}

TEST_F(Recovery, BeginsAnewOnARingThatWasMadeAnew) {
  header_.consumed = 41, header_.published = 40;
  ring_ = {3, 0};
  const auto verdict = judge_journal(header_, bytes_, identity_, kEntries, ring_);
  ASSERT_TRUE(verdict.has_value());
  EXPECT_EQ(verdict->use, JournalUse::begin_at);
  EXPECT_EQ(verdict->index, 0U);
}

TEST_F(Recovery, RefusesAFileThatSomebodyElseCouldHaveWritten) {
  const xenblk::test::TempDir directory;
  const auto path = directory.make_file("journal", journal_bytes(kEntries));
  ASSERT_EQ(::chmod(path.c_str(), 0620), 0);
  EXPECT_EQ(JournalFile::open(path).error().text, path + ": somebody else may write to it");
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  EXPECT_TRUE(JournalFile::open(path).has_value());
  EXPECT_EQ(JournalFile::open(directory.make_file("short", 10)).error().code, Errc::bad_journal);
}

}  // namespace
}  // namespace xenblk::ringio
