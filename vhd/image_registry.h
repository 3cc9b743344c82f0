// All images that are open in this process. A file is opened once, however many disks name it and
// by whatever path, and is closed with its last user. Any thread; the calls block on the file.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "vhd/host_file.h"
#include "vhd/image_spec.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

struct ImageRegistryOptions {
  bool direct_io = true;
};

class ImageRegistry {
 public:
  explicit ImageRegistry(ImageRegistryOptions options = {}) : options_(options) {}
  ImageRegistry(const ImageRegistry&) = delete;
  ImageRegistry& operator=(const ImageRegistry&) = delete;
  ~ImageRegistry();  // every image was closed

  // A read-only user of an image that is open for writing gets a view of it. Refused as locked: a
  // writer of an image that is open read-only, one file in two formats, a file that another process
  // holds.
  Expected<std::shared_ptr<Image>> open(const ImageSpec& spec, Access access);

  // Gives one user's image back. With the last user the image is finished and its lock dropped; an
  // error tells that finishing failed, the image is closed all the same. No request may be in
  // flight.
  Expected<void> close(std::shared_ptr<Image>&& image);

 private:
  struct Entry {
    FileIdentity identity;  // unused for a null image
    Format format = Format::raw;
    Access access = Access::read_only;
    std::string path;
    std::shared_ptr<Image> image;
    std::shared_ptr<Image> view;  // made for the first read-only user of a writable image
    std::size_t users = 0;
  };

  Expected<std::shared_ptr<Image>> open_file(const ImageSpec& spec, Access access);
  Expected<std::shared_ptr<Image>> share(Entry& entry, const ImageSpec& spec, Access access);
  Entry* find(const FileIdentity& identity);

  const ImageRegistryOptions options_;
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace xenblk::vhd
