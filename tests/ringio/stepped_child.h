// A child process that is run one instruction at a time, so that it can be killed between any two.
#pragma once

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

namespace xenblk::ringio::test {

// Pinned; one thread. Killed when destroyed.
class SteppedChild {
 public:
  // The child runs `work`, which must not return to the test: its result is the exit status.
  explicit SteppedChild(const std::function<int()>& work) : pid_(::fork()) {
    if (pid_ == 0) {
      if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(100);
      ::raise(SIGSTOP);
      ::_exit(work());
    }
    wait();
  }
  ~SteppedChild() { kill(); }
  SteppedChild(const SteppedChild&) = delete;
  SteppedChild& operator=(const SteppedChild&) = delete;

  bool alive() const { return pid_ > 0; }
  // One instruction further, or to its end.
  void step() {
    if (::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) == 0) wait();
  }
  void kill() {
    if (!alive()) return;
    ::kill(pid_, SIGKILL);
    while (alive()) wait();
  }
  // Of one that has ended by itself; -1 when it has not.
  int exit_status() const { return exit_status_; }

 private:
  void wait() {
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_ || WIFSTOPPED(status)) return;
    if (WIFEXITED(status)) exit_status_ = WEXITSTATUS(status);
    pid_ = -1;
  }
  pid_t pid_;
  int exit_status_ = -1;
};

}  // namespace xenblk::ringio::test
