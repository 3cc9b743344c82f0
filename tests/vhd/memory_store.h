// Saved metadata in memory, as durable as the interface promises.
#pragma once

#include <optional>
#include <vector>

#include "vhd/operations/metadata_store.h"

namespace xenblk::test {

class MemoryStore final : public vhd::MetadataStore {
 public:
  Expected<void> save(std::span<const std::byte> bytes) override {
    if (saved) return fail_os(EEXIST, "the journal");
    saved.emplace(bytes.begin(), bytes.end());
    return {};
  }
  Expected<std::optional<std::vector<std::byte>>> load() override { return saved; }
  Expected<void> remove() override {
    saved.reset();
    return {};
  }
  std::optional<std::vector<std::byte>> saved;
};

}  // namespace xenblk::test
