// All images that are open in this process. A file is opened once, however many disks name it and
// by whatever path, and is closed with its last user. Any thread; the calls block on the file, and
// on others that open or close the same file, but never on another file.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "vhd/chain/parent_search.h"
#include "vhd/host_file.h"
#include "vhd/image_roots.h"
#include "vhd/image_spec.h"
#include "vhd/operations/check.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

struct ImageRegistryOptions {
  bool direct_io = true;
  // Beneath which images lie, links followed; a file or device may be named itself. Empty:
  // anywhere.
  std::vector<std::string> image_roots = {};
  // Where the parents of differencing images may lie besides their child's own directory.
  std::vector<std::string> image_directories = {};
  bool raw_parents = false;  // a parent may be a raw disk, which nothing identifies
};

// What a change left: the image, open again, and what became of the change. Without an image it
// could be opened neither as it is to be nor as it was.
struct Changed {
  std::shared_ptr<Image> image;
  Expected<void> outcome;
};

class ImageRegistry {
 public:
  explicit ImageRegistry(ImageRegistryOptions options = {});
  ImageRegistry(const ImageRegistry&) = delete;
  ImageRegistry& operator=(const ImageRegistry&) = delete;
  ~ImageRegistry();  // every image was closed

  // A read-only user of an image that is open for writing gets a view of it. Refused as locked: a
  // writer of an image that is open read-only or is a parent, one file in two formats, an image
  // that is being merged, a file that another process holds. Refused as permission: outside all
  // image_roots. Errors about parents: ParentSearch.
  Expected<std::shared_ptr<Image>> open(const ImageSpec& spec, Access access);

  // Gives one user's image back. With the last user the image is finished and its lock dropped; an
  // error tells that finishing failed, the image is closed all the same. No request may be in
  // flight.
  Expected<void> close(std::shared_ptr<Image>&& image);

  // --- image_changes.cpp: what is done to an image between two requests of its only user, who
  // gives the last share of it and gets one back. When it fails the image is as it was. Refused: an
  // image that another disk uses too, or that is open read-only; unsupported_image: one that is no
  // VHD. The text names the image.

  // Larger; the rest as resize_image().
  Changed resize(std::shared_ptr<Image>&& image, SectorCount capacity);

  // A snapshot, in three steps. First, while requests go on: `child_path` gets an empty child of
  // the image, and what was written is synced. Errors: permission (outside the roots), io (it
  // exists), and those of make_child(); then nothing is left of the child.
  Expected<void> make_child(const std::shared_ptr<Image>& image, const std::string& child_path);
  // Second: the child in place of the image, which becomes read-only. The child goes if it fails.
  Changed move_to_child(std::shared_ptr<Image>&& image, const std::string& child_path);
  // Third, if nobody could be told of the second: undoes both.
  Changed move_back(std::shared_ptr<Image>&& child, const std::string& parent_path);

  // --- image_merge.cpp: a differencing image is merged into its parent while its disk runs.

  struct MergeParent {
    std::shared_ptr<Image> image;  // open for writing
    ImageSpec spec;
  };
  // First, while requests go on: opens the nearest parent for writing, and makes it as large as the
  // child. Refused, with nothing changed: an image without a parent, one that belongs to a saved
  // state, a parent that has other children, sizes that do not fit; permission: a parent outside
  // the roots; locked: somebody else uses it.
  Expected<MergeParent> open_merge_parent(const std::shared_ptr<Image>& child);
  // Second: a MergingImage of both in place of the child, which nobody else can open from then on.
  // Refused, with the parent closed: another disk uses the child by now.
  Changed begin_merge(std::shared_ptr<Image>&& child, MergeParent parent);
  // When it has ended well, with no request in flight: MergingImage::settle(), and the parent may
  // be written again whatever a snapshot has noted (successor.h).
  Expected<void> settle_merge(const std::shared_ptr<Image>& merging);
  // Third, when it is settled and `params` name the parent: the parent in place of both. The child
  // is deleted.
  Changed end_merge(std::shared_ptr<Image>&& merging);
  // Instead of the third: the child again, as it is, and what was noted.
  Changed abort_merge(std::shared_ptr<Image>&& merging);

  // Everything that is wrong with it. Reads what other users of the image must not change
  // meanwhile.
  Expected<CheckReport> check(const std::shared_ptr<Image>& image, const CheckOptions& options);

 private:
  enum class State : std::uint8_t { opening, open, closing };
  struct Entry {
    FileIdentity identity;  // unused for a null image
    Format format = Format::raw;
    Access access = Access::read_only;
    std::string path;
    State state = State::opening;
    std::shared_ptr<Image> image;
    std::shared_ptr<Image> view;  // made for the first read-only user of a writable image
    std::size_t users = 0;
    std::optional<ImageSpec> merges_into;  // `image` is a MergingImage
    std::optional<std::string> successor;  // what was noted beside the parent of a settled merge
  };
  using Entries = std::list<Entry>;

  Expected<std::shared_ptr<Image>> open_null(const ImageSpec& spec, Access access);
  Expected<std::shared_ptr<Image>> open_entry(const ImageSpec& spec, Entries::iterator entry);
  Expected<std::shared_ptr<Image>> open_file(const ImageSpec& spec, const Entry& entry);
  static Expected<std::shared_ptr<Image>> share(Entry& entry, const ImageSpec& spec, Access access);
  Entries::iterator find(const FileIdentity& identity);
  Entries::iterator find(const std::shared_ptr<Image>& image);
  // Closes the image, lets `work` do something to its file, and opens what `work` answers.
  using Work = std::function<Expected<ImageSpec>(const ImageSpec& closed)>;
  Changed exchange(std::shared_ptr<Image>&& image, const Work& work);
  // What an open file of the host says of itself, by its path.
  Expected<std::unique_ptr<HostFile>> look_at(const std::string& path,
                                              const FileIdentity& identity) const;
  Expected<MergeParent> open_for_merge(class DynamicImage& child, const std::string& child_path);
  void close_merge_parent(class DynamicImage& child, MergeParent parent);
  // The parent, while it is being merged.
  std::optional<std::string> merge_target(const std::shared_ptr<Image>& merging);
  Expected<void> check_merge(class DynamicImage& child, const std::string& child_path,
                             const std::string& parent_path) const;
  static Expected<void> sole_writer(const Entry& entry, const std::shared_ptr<Image>& image);
  Expected<void> open_again(Entry& entry, const ImageSpec& spec);
  std::optional<std::string> writer_of(const FileIdentity& identity);

  const ImageRegistryOptions options_;
  const ImageRoots roots_;
  ParentSearch parents_;
  std::mutex mutex_;
  std::condition_variable changed_;  // an entry was opened or closed
  Entries entries_;
};

}  // namespace xenblk::vhd
