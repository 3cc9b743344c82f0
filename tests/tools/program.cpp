#include "tests/tools/program.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>

namespace xenblk::test {
namespace {

std::string all_of(int descriptor) {
  std::string text;
  char part[4096];
  ::lseek(descriptor, 0, SEEK_SET);
  for (ssize_t n = 0; (n = ::read(descriptor, part, sizeof(part))) > 0;) {
    text.append(part, static_cast<std::size_t>(n));
  }
  return text;
}

std::vector<std::string> with_program(const std::vector<std::string>& words) {
  std::vector<std::string> command{XENBLK_IMG_PROGRAM};
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

// Not every architecture has it.
#ifdef SYS_poll
constexpr long kPoll = SYS_poll;
#else
constexpr long kPoll = SYS_ppoll;
#endif

// A test program that runs in the background may have been told to ignore some.
void let_signals_in() {
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
}

[[noreturn]] void become(const std::vector<std::string>& command, const std::string& directory) {
  std::vector<char*> words;
  for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  let_signals_in();
  if (::chdir(directory.c_str()) == 0) ::execvp(words[0], words.data());
  ::_exit(127);
}

}  // namespace

Running::Running(const std::vector<std::string>& command, const std::string& directory)
    : out_(::memfd_create("out", MFD_CLOEXEC)), err_(::memfd_create("err", MFD_CLOEXEC)) {
  int input[2] = {-1, -1};
  EXPECT_EQ(::pipe2(input, O_CLOEXEC), 0);
  process_ = ::fork();
  if (process_ == 0) {
    ::dup2(input[0], STDIN_FILENO);
    ::dup2(out_, STDOUT_FILENO);
    ::dup2(err_, STDERR_FILENO);
    become(command, directory);
  }
  ::close(input[0]);
  input_ = input[1];
}

Running::~Running() {
  close_input();
  if (process_ > 0) {
    signal(SIGKILL);
    wait();
  }
  ::close(out_);
  ::close(err_);
}

void Running::send(const std::string& input) {
  auto* const before = std::signal(SIGPIPE, SIG_IGN);
  for (std::size_t sent = 0; sent < input.size();) {
    const auto n = ::write(input_, input.data() + sent, input.size() - sent);
    if (n <= 0) break;
    sent += static_cast<std::size_t>(n);
  }
  std::signal(SIGPIPE, before);
}

void Running::close_input() {
  if (input_ >= 0) ::close(input_);
  input_ = -1;
}

void Running::wait_until_it_waits_for_input() const {
  const auto ended = [&] {
    siginfo_t info = {};
    return ::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid != 0;
  };
  // What the kernel says of a process that sleeps begins with the number of its system call.
  const auto call = [&] {
    std::ifstream file("/proc/" + std::to_string(process_) + "/syscall");
    long number = -1;
    return file >> number ? number : -1;
  };
  while (!ended()) {
    int left = -1;
    ASSERT_EQ(::ioctl(input_, FIONREAD, &left), 0);
    const auto now = call();
    if (left == 0 && (now == SYS_read || now == SYS_ppoll || now == kPoll)) return;
    std::this_thread::yield();
  }
}

void Running::signal(int number) const {
  ASSERT_GT(process_, 0);
  ::kill(process_, number);
}

Ended Running::wait() {
  int status = 0;
  EXPECT_EQ(::waitpid(process_, &status, 0), process_);
  process_ = -1;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, all_of(out_), all_of(err_)};
}

Running ImgTest::start(const std::vector<std::string>& words) const {
  return Running(with_program(words), dir_.path(""));
}

Ended ImgTest::img(const std::vector<std::string>& words, const std::string& input) const {
  auto running = start(words);
  running.send(input);
  running.close_input();
  return running.wait();
}

std::string ImgTest::good(const std::vector<std::string>& words) const {
  const auto ended = img(words);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  return without_directory(ended.out);
}

nlohmann::json ImgTest::json(const std::vector<std::string>& words) const {
  return nlohmann::json::parse(good(words));
}

std::string ImgTest::refused(const std::vector<std::string>& words, int status) const {
  const auto ended = img(words);
  EXPECT_EQ(ended.status, status);
  EXPECT_EQ(ended.out, "");
  const std::string name = "xenblk-img: ";
  EXPECT_TRUE(ended.err.starts_with(name)) << ended.err;
  EXPECT_EQ(std::ranges::count(ended.err, '\n'), 1) << ended.err;
  const auto line = ended.err.substr(0, ended.err.find('\n'));
  return without_directory(line.substr(std::min(name.size(), line.size())));
}

Ended ImgTest::shell(const std::string& line) const {
  const std::string start = std::string("set -o pipefail; img=") + XENBLK_IMG_PROGRAM + "; ";
  Running running({"bash", "-c", start + line}, dir_.path(""));
  running.close_input();
  return running.wait();
}

void ImgTest::make_raw(const std::string& name, std::uint64_t sectors) const {
  std::ofstream file(path(name), std::ios::binary);
  std::string data(3000 * 512, 'x');
  for (std::size_t i = 0; i < data.size(); i += 7) data[i] = static_cast<char>(i >> 4);
  file << data;
  file.seekp(static_cast<std::streamoff>(10000) * 512) << std::string(1000 * 512, '\0');
  file.seekp(static_cast<std::streamoff>(sectors - 1) * 512) << std::string(512, 'z');
}

std::vector<std::string> ImgTest::files() const {
  std::vector<std::string> names;
  for (const auto& one : std::filesystem::directory_iterator(dir_.path(""))) {
    names.push_back(one.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

std::uint64_t ImgTest::stored_bytes(const std::string& name) const {
  struct stat status = {};
  EXPECT_EQ(::stat(path(name).c_str(), &status), 0) << name;
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

std::string ImgTest::without_directory(std::string text) const {
  const auto directory = dir_.path("");  // ends with a slash
  for (auto at = text.find(directory); at != std::string::npos; at = text.find(directory)) {
    text.replace(at, directory.size() - 1, "DIR");
  }
  return text;
}

}  // namespace xenblk::test
