// What a disk may hold: for each sector the values it was given, and which of them are promised.
// The test writes a number into each sector, never the same twice.
#pragma once

#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "xenblk/units.h"

namespace xenblk::test {

enum class Crash { none, kill, power_cut };

class DiskModel {
 public:
  explicit DiskModel(std::uint64_t sectors) : sectors_(sectors) {}

  std::uint64_t size() const { return sectors_.size(); }
  bool is_busy(std::uint64_t first, std::uint64_t count) const {
    for (auto s = first; s < first + count; ++s) {
      if (sectors_[s].in_flight) return true;
    }
    return false;
  }

  // A write is submitted: `data` is filled with a new value a sector.
  void begin_write(std::uint64_t first, std::span<std::byte> data) {
    for (std::size_t i = 0; i < data.size() / kSectorBytes; ++i) {
      auto& sector = sectors_[first + i];
      sector.in_flight = true;
      sector.values.push_back(++last_value_);
      for (std::size_t word = 0; word < kSectorBytes; word += sizeof last_value_) {
        std::memcpy(data.data() + i * kSectorBytes + word, &last_value_, sizeof last_value_);
      }
    }
  }

  // The sectors become zeroes, by a discard or a write of zeroes.
  void begin_zero(std::uint64_t first, std::uint64_t count) {
    for (auto s = first; s < first + count; ++s) {
      sectors_[s].in_flight = true;
      sectors_[s].values.push_back(0);
    }
  }

  // A write that failed promises nothing, but may have happened.
  void end_write(std::uint64_t first, std::uint64_t count, bool okay) {
    for (auto s = first; s < first + count; ++s) {
      sectors_[s].in_flight = false;
      if (okay) sectors_[s].answered = sectors_[s].values.size() - 1;
    }
  }

  // What a flush that is submitted now will promise.
  std::vector<std::size_t> begin_flush() const {
    std::vector<std::size_t> answered;
    for (const auto& sector : sectors_) answered.push_back(sector.answered);
    return answered;
  }
  void end_flush(const std::vector<std::size_t>& answered) {
    for (std::size_t s = 0; s < sectors_.size(); ++s) {
      sectors_[s].flushed = std::max(sectors_[s].flushed, answered[s]);
    }
  }

  // Empty when `data` is what the sectors from `first` on may hold; else what is wrong.
  // `answered`: by begin_flush() when a read was submitted, which may see any value since.
  std::string check(std::uint64_t first, std::span<const std::byte> data, Crash crash,
                    const std::vector<std::size_t>& answered = {}) const {
    for (std::size_t i = 0; i < data.size() / kSectorBytes; ++i) {
      const auto bytes = data.subspan(i * kSectorBytes, kSectorBytes);
      std::uint64_t value = 0;
      std::memcpy(&value, bytes.data(), sizeof value);
      if (!is_whole(bytes, value)) return "sector " + std::to_string(first + i) + " is mixed";
      const auto& sector = sectors_[first + i];
      const auto oldest = !answered.empty()           ? answered[first + i]
                          : crash == Crash::power_cut ? sector.flushed
                                                      : sector.answered;
      bool allowed = false;
      for (auto v = oldest; v < sector.values.size(); ++v) allowed |= sector.values[v] == value;
      if (allowed) continue;
      return "sector " + std::to_string(first + i) + " holds " + std::to_string(value) +
             ", promised " + std::to_string(sector.values[oldest]);
    }
    return {};
  }

  // After a crash the disk is what it is: that is now promised.
  void rebase(std::uint64_t first, std::span<const std::byte> data) {
    for (std::size_t i = 0; i < data.size() / kSectorBytes; ++i) {
      std::uint64_t value = 0;
      std::memcpy(&value, data.data() + i * kSectorBytes, sizeof value);
      sectors_[first + i] = {{value}, 0, 0, false};
    }
  }

 private:
  struct Sector {
    std::vector<std::uint64_t> values{0};
    std::size_t answered = 0;  // index of the last value whose write was answered
    std::size_t flushed = 0;
    bool in_flight = false;
  };

  static bool is_whole(std::span<const std::byte> bytes, std::uint64_t value) {
    for (std::size_t word = 0; word < kSectorBytes; word += sizeof value) {
      if (std::memcmp(bytes.data() + word, &value, sizeof value) != 0) return false;
    }
    return true;
  }

  std::vector<Sector> sectors_;
  std::uint64_t last_value_ = 0;
};

}  // namespace xenblk::test
