// xenblk-img export: serves an image to NBD clients on a socket, until the last one has left.
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "nbd/export.h"
#include "tools/img/commands.h"
#include "tools/img/image_name.h"
#include "tools/img/interrupt.h"
#include "tools/img/open_images.h"
#include "tools/img/options.h"
#include "tools/img/output.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
  std::string socket;
  std::string name;
  bool read_only = false;
  bool persistent = false;
  ChainOptions chain;
};

// The end of the work: a signal, or the last client's leaving. Signals wait here for all threads
// that are started while it lives.
class EndOfWork {
 public:
  EndOfWork() : last_client_left_(::eventfd(0, EFD_CLOEXEC)) {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (const int signal : kInterrupts) {
      if (!is_ignored(signal)) ::sigaddset(&signals, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &signals, &before_);
    signals_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  }
  ~EndOfWork() {
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    ::close(signals_);
    ::close(last_client_left_);
  }
  EndOfWork(const EndOfWork&) = delete;
  EndOfWork& operator=(const EndOfWork&) = delete;

  // Any thread.
  void last_client_left() const { static_cast<void>(::eventfd_write(last_client_left_, 1)); }

  void wait() const {
    pollfd both[] = {{signals_, POLLIN, 0}, {last_client_left_, POLLIN, 0}};
    while (::poll(both, 2, -1) < 0 && errno == EINTR) {
    }
    // Taken, or it would end us as soon as signals are let in again.
    signalfd_siginfo signal = {};
    if (both[0].revents == 0) return;
    [[maybe_unused]] const auto bytes = ::read(signals_, &signal, sizeof signal);
  }

 private:
  sigset_t before_ = {};
  int signals_ = -1;
  int last_client_left_ = -1;
};

Outcome export_image(const Options& options) {
  const auto spec = parse_image_name(options.image, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  OpenImages images(options.chain);
  auto image = images.open(*spec, options.read_only ? Access::read_only : Access::read_write);
  if (!image) return std::unexpected(image.error());
  const EndOfWork end;
  nbd::ExportOptions settings{.name = options.name, .read_only = options.read_only};
  if (!options.persistent) settings.last_client_left = [&end] { end.last_client_left(); };
  const auto thread = nbd::ExportThread::start();
  if (!thread) return std::unexpected(thread.error());
  auto served = nbd::Export::start(**thread, image->share(), options.socket, std::move(settings));
  if (!served) return std::unexpected(served.error());
  print("{}\n", options.socket);
  // Whoever waits for this line may connect.
  if (const auto said = flush_output(); !said) return std::unexpected(said.error());
  end.wait();
  served->reset();
  if (auto closed = image->close(); !closed) return std::unexpected(closed.error());
  return ExitStatus::good;
}

}  // namespace

void add_export(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "export",
                              "Serve an image to NBD clients on a socket, until the last has left",
                              "  xenblk-img export vhd:/srv/disk.vhd --socket /run/disk.sock &\n"
                              "  qemu-img info 'nbd+unix:///?socket=/run/disk.sock'");
  command.add_option("IMAGE", options->image, "vhd:PATH or raw:PATH")->required();
  command.add_option("--socket", options->socket, "Where clients connect; only our user may")
      ->option_text("PATH REQUIRED")
      ->required();
  command.add_option("--name", options->name, "Of the export; the empty name always works")
      ->option_text("NAME");
  command.add_flag("--read-only", options->read_only, "Open the image for reading only");
  command.add_flag("--persistent", options->persistent,
                   "Go on when the last client has left, until a signal comes");
  add_chain_options(command, options->chain);
  command.callback([options, &run] { run = [options] { return export_image(*options); }; });
}

}  // namespace xenblk::img
