// An NBD server for one disk on a socket of the file system: what QEMU opens to boot a guest from a
// VHD (nbd+unix:///?socket=PATH), and what backup tools read. The image is the one that a guest may
// be using at the same time: a flush of either covers what the other wrote, and nothing is cached.
// docs/nbd.md says what clients may expect.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nbd/counters.h"
#include "nbd/export_thread.h"
#include "xenblk/image.h"

namespace xenblk::nbd {

struct ExportOptions {
  std::string name;        // clients may ask for it; the empty name always does. At most 255 bytes
  bool read_only = false;  // also of an image that is open for writing
  // Each costs about 5 MiB when it is busy; those beyond are closed at once.
  std::uint32_t connections_max = 16;
  // Called on the export's thread when the last connection has ended, and a client has said
  // something since the last call. Must not wait, nor stop the export.
  std::function<void()> last_client_left;
};

// Pinned. Its clients are worked for by `thread` alone, which is borrowed.
class Export {
 public:
  // Listens at `path` (mode 0600) once it returns. The image must stay open until the export has
  // stopped; each connection sees the size that it has when it connects. Waits for nobody. Errors:
  // those of ListeningSocket::make, bad_spec (the name), no_memory.
  static Expected<std::unique_ptr<Export>> start(ExportThread& thread, std::shared_ptr<Image> image,
                                                 const std::string& path, ExportOptions options);
  // Stops, and waits for that, unless it has stopped.
  ~Export();
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;

  // Removes the socket, takes no more requests, waits for the image to finish those that are under
  // way, and closes all connections: then nobody uses the image here. Waits for the image, never
  // for a client. Any thread but the export's; a second call does nothing.
  void stop();
  // The same, without waiting here: `stopped` runs on the export's thread, which must not destroy
  // the export. Once, and not beside stop().
  void stop(std::function<void()> stopped);

  const std::string& path() const;
  bool read_only() const;  // by its options
  const ExportCounters& counters() const;

 private:
  class Impl;
  explicit Export(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace xenblk::nbd
