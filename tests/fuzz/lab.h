// A chain of images, what its last one must show, and everything that can be done to it.
#pragma once

#include <array>
#include <optional>

#include "tests/fuzz/chain.h"
#include "tests/fuzz/session.h"
#include "vhd/operations/check.h"
#include "vhd/operations/copy.h"
#include "vhd/operations/metadata_store.h"

namespace xenblk::fuzz {

class Lab {
 public:
  // `known`: of images that are not damaged.
  Lab(Files files, const Built& built, const std::optional<KnownSectors>& known);
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  void step(Reader& reader);
  bool is_given_up() const { return given_up_; }

 private:
  static constexpr std::uint64_t kTransferMax = std::uint64_t{6} << 20;

  void check();
  void repair(Reader& reader);
  void resize(Reader& reader);
  void copy(Reader& reader);
  void snapshot(Reader& reader);
  void coalesce(Reader& reader);
  void relink(Reader& reader);
  void write(Reader& reader);
  void recover_from_anything(Reader& reader);

  Expected<std::unique_ptr<Image>> open(Access access);
  // True when the image can be opened and read: then it shows what it must.
  bool read_all();
  std::uint64_t capacity();
  MemoryContent& last() { return files_.back(); }
  unsigned last_number() const { return static_cast<unsigned>(files_.size() - 1); }
  MemoryFile last_file(Access access) { return {last(), access}; }
  // Of the last image, if it has one.
  std::optional<vhd::ParentReference> reference();
  std::optional<unsigned> parent_number();
  bool is_used_up() const;
  void renew();
  static bool run_copy(Reader& reader, Image& source, Image& target, vhd::TargetContent content);
  // Nothing when it did not come about.
  std::optional<Files> copy_all(Reader& reader, unsigned kind);
  static void expect_alike(Image& one, Image& other);
  static bool grow_parent(Files& parents, std::uint64_t capacity);
  // What `journal` has of an operation that failed is put back.
  void recover(vhd::MetadataStore& journal);

  Files files_;
  const bool sound_;
  SectorMap map_;
  std::array<std::uint64_t, 3> places_;
  std::uint64_t block_sectors_;
  bool readable_ = false;
  bool given_up_ = false;
};

}  // namespace xenblk::fuzz
