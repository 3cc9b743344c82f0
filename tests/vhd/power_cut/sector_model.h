// What a disk may hold: for each sector the values it was given, and which of them are promised.
// Every write gives a number of its own to each of its sectors; zeroes are the number 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "xenblk/units.h"

namespace xenblk::power_cut {

enum class Crash : std::uint8_t { none, kill, power_cut };

using SectorValue = std::uint64_t;

inline void fill_sector(std::span<std::byte, kSectorBytes> sector, SectorValue value) {
  for (std::size_t word = 0; word < kSectorBytes; word += sizeof value) {
    std::memcpy(sector.data() + word, &value, sizeof value);
  }
}

// Nothing when the sector is a mixture.
inline std::optional<SectorValue> value_of(std::span<const std::byte, kSectorBytes> sector) {
  SectorValue value = 0;
  std::memcpy(&value, sector.data(), sizeof value);
  const bool whole =
      std::memcmp(sector.data(), sector.data() + sizeof value, kSectorBytes - sizeof value) == 0;
  return whole ? std::optional(value) : std::nullopt;
}

class SectorModel {
 public:
  explicit SectorModel(std::uint64_t sectors) : sectors_(sectors) {}

  std::uint64_t size() const { return sectors_.size(); }

  // The guest keeps its own requests apart: what a write and another request do to one sector at
  // once is nobody's promise.
  bool is_busy(std::uint64_t first, std::uint64_t count) const {
    return std::ranges::any_of(part(first, count), &Sector::in_flight);
  }
  void begin_read(std::uint64_t first, std::uint64_t count) { set_busy(first, count, true); }
  void end_read(std::uint64_t first, std::uint64_t count) { set_busy(first, count, false); }

  // `data` is filled with new values.
  void begin_write(std::uint64_t first, std::span<std::byte> data) {
    for (std::size_t i = 0; i < data.size() / kSectorBytes; ++i) {
      fill_sector(data.subspan(i * kSectorBytes).first<kSectorBytes>(), next_value());
      add(first + i, last_value_);
    }
  }
  void begin_zeroes(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) add(first + i, 0);
  }
  // A write that failed promises nothing, but may have happened.
  void end_write(std::uint64_t first, std::uint64_t count, bool okay) {
    for (auto& sector : part(first, count)) {
      sector.in_flight = false;
      if (okay) sector.answered = sector.dropped + sector.values.size() - 1;
    }
  }
  SectorValue next_value() { return ++last_value_; }

  // What a flush that is submitted now will promise.
  std::vector<std::uint64_t> begin_flush() const {
    std::vector<std::uint64_t> answered;
    answered.reserve(sectors_.size());
    for (const auto& sector : sectors_) answered.push_back(sector.answered);
    return answered;
  }
  void end_flush(const std::vector<std::uint64_t>& answered) {
    for (std::size_t s = 0; s < answered.size(); ++s) {
      auto& sector = sectors_[s];
      if (answered[s] <= sector.dropped) continue;
      const auto count = static_cast<std::ptrdiff_t>(answered[s] - sector.dropped);
      sector.values.erase(sector.values.begin(), sector.values.begin() + count);
      sector.dropped = answered[s];
    }
  }

  // Empty when `data` is what the sectors from `first` on may hold; else what is wrong.
  std::string check(std::uint64_t first, std::span<const std::byte> data, Crash crash) const {
    for (std::size_t i = 0; i < data.size() / kSectorBytes; ++i) {
      const auto& sector = sectors_[first + i];
      const auto value = value_of(data.subspan(i * kSectorBytes).first<kSectorBytes>());
      if (!value) return "sector " + std::to_string(first + i) + " is mixed";
      const auto skip = crash == Crash::power_cut ? 0 : sector.answered - sector.dropped;
      const auto allowed = std::span(sector.values).subspan(skip);
      if (std::ranges::find(allowed, *value) != allowed.end()) continue;
      return "sector " + std::to_string(first + i) + " holds " + std::to_string(*value) +
             ", promised was " + std::to_string(allowed.front());
    }
    return {};
  }

  // After a crash the disk is what it is: that is now promised.
  void rebase(std::uint64_t first, std::span<const std::byte> data) {
    for (std::size_t i = 0; i < data.size() / kSectorBytes; ++i) {
      sectors_[first + i] = {
          {*value_of(data.subspan(i * kSectorBytes).first<kSectorBytes>())}, 0, 0, false};
    }
  }

  // Sectors that come to a disk which grows: zeroes, or what lay hidden behind its end.
  void uncover(std::uint64_t first, std::uint64_t count) {
    for (auto& sector : part(first, count)) sector.values.push_back(0);
  }

 private:
  struct Sector {
    std::vector<SectorValue> values{0};  // the first is the last one that was flushed
    std::uint64_t dropped = 0;           // so many before it
    std::uint64_t answered = 0;          // number of the last value whose write was answered
    bool in_flight = false;
  };

  std::span<Sector> part(std::uint64_t first, std::uint64_t count) {
    return std::span(sectors_).subspan(first, count);
  }
  std::span<const Sector> part(std::uint64_t first, std::uint64_t count) const {
    return std::span(sectors_).subspan(first, count);
  }
  void add(std::uint64_t sector, SectorValue value) {
    sectors_[sector].in_flight = true;
    sectors_[sector].values.push_back(value);
  }
  void set_busy(std::uint64_t first, std::uint64_t count, bool busy) {
    for (auto& sector : part(first, count)) sector.in_flight = busy;
  }

  std::vector<Sector> sectors_;
  SectorValue last_value_ = 0;
};

}  // namespace xenblk::power_cut
