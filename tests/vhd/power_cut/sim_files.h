// The files of a scenario by their numbers: on a storage that runs, or as a crash left them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tests/vhd/direct_engine.h"
#include "tests/vhd/power_cut/content_file.h"
#include "tests/vhd/power_cut/sim_storage.h"
#include "vhd/operations/metadata_store.h"

namespace xenblk::power_cut {

class SimFiles {
 public:
  virtual ~SimFiles() = default;
  virtual std::unique_ptr<File> open(std::size_t number, Access access) = 0;
  // All of a file at once, on stable storage when it returns. Nothing: no file.
  virtual void replace(std::size_t number, std::span<const std::byte> content) = 0;
  virtual const SimContent& content(std::size_t number) const = 0;
  virtual test::TestEngine& engine() = 0;

  bool has(std::size_t number) const { return content(number).size_bytes() > 0; }
};

class StorageFiles final : public SimFiles {
 public:
  explicit StorageFiles(SimStorage& storage) : storage_(storage), engine_(storage) {}
  std::unique_ptr<File> open(std::size_t number, Access access) override {
    return std::make_unique<SimFile>(storage_, number, access);
  }
  void replace(std::size_t number, std::span<const std::byte> content) override {
    SimFile file(storage_, number, Access::read_write);
    file.replace(content);
    [[maybe_unused]] const auto synced = file.sync_data();
  }
  const SimContent& content(std::size_t number) const override {
    return storage_.contents()[number];
  }
  test::TestEngine& engine() override { return engine_; }

 private:
  SimStorage& storage_;
  SimEngine engine_;
};

class CrashedFiles final : public SimFiles {
 public:
  CrashedFiles(SimContents& contents, bool on_device)
      : contents_(contents), on_device_(on_device) {}
  std::unique_ptr<File> open(std::size_t number, Access access) override {
    return std::make_unique<ContentFile>(contents_[number], access, on_device_);
  }
  void replace(std::size_t number, std::span<const std::byte> content) override {
    contents_[number].resize(0);
    contents_[number].write(0, content);
  }
  const SimContent& content(std::size_t number) const override { return contents_[number]; }
  test::TestEngine& engine() override { return engine_; }

 private:
  SimContents& contents_;
  bool on_device_;
  test::DirectEngine engine_;
};

// A journal is one of the files.
class SimJournal final : public vhd::MetadataStore {
 public:
  SimJournal(SimFiles& files, std::size_t number) : files_(files), number_(number) {}
  Expected<void> save(std::span<const std::byte> bytes) override {
    if (files_.has(number_)) return fail_os(EEXIST, "the journal");
    files_.replace(number_, bytes);
    return {};
  }
  Expected<std::optional<std::vector<std::byte>>> load() override {
    if (!files_.has(number_)) return std::nullopt;
    std::vector<std::byte> bytes(files_.content(number_).size_bytes());
    files_.content(number_).read(0, bytes);
    return bytes;
  }
  Expected<void> remove() override {
    files_.replace(number_, {});
    return {};
  }

 private:
  SimFiles& files_;
  std::size_t number_;
};

}  // namespace xenblk::power_cut
