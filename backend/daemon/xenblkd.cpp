// xenblkd: the daemon that serves virtual disks to the guests of this host.
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>

#include "backend/backend.h"
#include "backend/control/publisher.h"
#include "backend/control/server.h"
#include "backend/daemon/confinement/confinement.h"
#include "backend/daemon/host.h"
#include "backend/daemon/launch.h"
#include "backend/daemon/options.h"
#include "backend/event_loop.h"
#include "backend/platform/libxen/libxen.h"
#include "vhd/standard_streams.h"

namespace {

using namespace xenblk;
using namespace xenblk::daemon;

spdlog::logger make_log(bool debug) {
  if (!debug) {
    // Under systemd the journal takes it from here too, with its levels.
    return {"xenblkd",
            std::make_shared<spdlog::sinks::syslog_sink_mt>("xenblkd", LOG_PID, LOG_DAEMON, true)};
  }
  spdlog::logger log("xenblkd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log.set_pattern("%H:%M:%S.%e %l %v");
  log.flush_on(spdlog::level::debug);
  return log;
}

// Ends are taken from the loop like any other event; the signals must be blocked before a thread
// exists.
int block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

// Ends by leaving the disks to the next daemon.
void end(backend::Backend& backend, backend::EventLoop& loop, spdlog::logger& log) {
  if (backend.is_detaching()) return;
  log.info("ending; connected frontends wait for the next daemon");
  backend.detach([&loop] { loop.stop(); });
}

// The same command line, and what stands in the file now.
void reload(int argc, const char* const* argv, backend::Backend& backend, spdlog::logger& log) {
  const auto choice = read_options(argc, argv);
  if (!choice) return log.error("not reloaded: {}", describe(choice.error()));
  const auto* options = std::get_if<Options>(&*choice);
  if (options == nullptr) return;
  backend.reload(options->backend);
  log.set_level(spdlog::level::from_str(options->log_level));
  log.info("reloaded");
}

// SIGHUP reads the configuration again, and looks whether images have grown. The first SIGTERM or
// SIGINT detaches; another one does not wait for storage any longer.
void on_signal(int descriptor, backend::Backend& backend, backend::EventLoop& loop,
               spdlog::logger& log, const std::function<void()>& on_hangup) {
  signalfd_siginfo info{};
  if (::read(descriptor, &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGHUP) return on_hangup();
  if (backend.is_detaching()) {
    log.critical("ended by a second signal, with requests in flight");
    ::_exit(1);
  }
  end(backend, loop, log);
}

// Whoever may use the socket must be able to get to it.
Expected<control::ServerOptions> control_options(const Options& options) {
  control::ServerOptions control{.path = std::string(kStateDirectory) + "/control.sock"};
  if (options.control_group.empty()) return control;
  const auto group = group_number(options.control_group);
  if (!group) return std::unexpected(group.error());
  control.group = *group;
  if (::chmod(kStateDirectory, 0711) != 0) return fail_os(errno, kStateDirectory);
  return control;
}

Expected<void> serve(const Options& options, spdlog::logger& log, int signals, Launch& launch,
                     const std::function<void(backend::Backend&)>& read_again) {
  if (auto room = refuse_kernel_backend(options.backend.kinds); !room) return room;
  const auto pid_file = PidFile::take(kStateDirectory);
  if (!pid_file) return std::unexpected(pid_file.error());
  // What only root can say about the socket is said before.
  const auto control = control_options(options);
  if (!control) return std::unexpected(control.error());
  auto listener = control::Listener::make(*control);
  if (!listener) return std::unexpected(listener.error());
  if (auto confined = confine_before_threads(options.confinement, log); !confined) return confined;
  auto xen = libxen::open_xen();
  auto loop = backend::EventLoop::make();
  if (!loop) return std::unexpected(loop.error());
  auto backend = backend::Backend::start(*xen, **loop, options.backend, log);
  if (!backend) return std::unexpected(backend.error());
  control::Service service(**backend, [&] { end(**backend, **loop, log); });
  const control::Server server(**loop, service, std::move(*listener), *control, log);
  const control::Publisher publisher(
      **loop, service, {.metrics_file = options.metrics_file, .xapi = options.xapi_statistics},
      log);
  (*loop)->watch_descriptor(signals, [&] {
    on_signal(signals, **backend, **loop, log, [&] {
      read_again(**backend);
      (*backend)->reread_capacities();
    });
  });
  if (auto confined = confine_after_start(options.confinement); !confined) return confined;
  log.info("serving with {} worker(s)", options.backend.workers);
  launch.ready();
  (*loop)->run();
  log.info("ended");
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  const auto choice = read_options(argc, argv);
  if (!choice) {
    std::fprintf(stderr, "xenblkd: %s\n", describe(choice.error()).c_str());
    return 1;
  }
  if (const auto* farewell = std::get_if<Farewell>(&*choice)) {
    std::fputs(farewell->text.c_str(), farewell->exit_status == 0 ? stdout : stderr);
    return farewell->exit_status;
  }
  const auto& options = std::get<Options>(*choice);
  Launch launch(choose_mode(options.debug));
  const int signals = block_signals();
  auto log = make_log(options.debug);
  log.set_level(spdlog::level::from_str(options.log_level));
  const auto served = serve(options, log, signals, launch,
                            [&](backend::Backend& backend) { reload(argc, argv, backend, log); });
  if (served) return 0;
  // In the foreground the log is on the same terminal.
  if (!options.debug) log.error("{}", describe(served.error()));
  return launch.failed(describe(served.error()));
}
