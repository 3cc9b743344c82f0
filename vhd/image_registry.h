// All images that are open in this process. A file is opened once, however many disks name it and
// by whatever path, and is closed with its last user. Any thread; the calls block on the file, and
// on others that open or close the same file, but never on another file.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "vhd/chain/parent_search.h"
#include "vhd/host_file.h"
#include "vhd/image_spec.h"
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

class ImageRegistry {
 public:
  explicit ImageRegistry(ImageRegistryOptions options = {});
  ImageRegistry(const ImageRegistry&) = delete;
  ImageRegistry& operator=(const ImageRegistry&) = delete;
  ~ImageRegistry();  // every image was closed

  // A read-only user of an image that is open for writing gets a view of it. Refused as locked: a
  // writer of an image that is open read-only or is a parent, one file in two formats, a file that
  // another process holds. Refused as permission: outside all image_roots. Errors about parents:
  // ParentSearch.
  Expected<std::shared_ptr<Image>> open(const ImageSpec& spec, Access access);

  // Gives one user's image back. With the last user the image is finished and its lock dropped; an
  // error tells that finishing failed, the image is closed all the same. No request may be in
  // flight.
  Expected<void> close(std::shared_ptr<Image>&& image);

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
  };
  using Entries = std::list<Entry>;

  Expected<std::shared_ptr<Image>> open_null(const ImageSpec& spec, Access access);
  Expected<std::shared_ptr<Image>> open_entry(const ImageSpec& spec, Entries::iterator entry);
  Expected<std::shared_ptr<Image>> open_file(const ImageSpec& spec, const Entry& entry);
  static Expected<std::shared_ptr<Image>> share(Entry& entry, const ImageSpec& spec, Access access);
  Entries::iterator find(const FileIdentity& identity);
  std::optional<std::string> writer_of(const FileIdentity& identity);

  const ImageRegistryOptions options_;
  ParentSearch parents_;
  std::mutex mutex_;
  std::condition_variable changed_;  // an entry was opened or closed
  Entries entries_;
};

}  // namespace xenblk::vhd
