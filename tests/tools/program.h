// Runs programs as a user would: a command line, what goes in, what comes out, and how it ended.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/vhd/temp_dir.h"

namespace xenblk::test {

struct Ended {
  int status = -1;  // what it exited with; 128 and the signal's number when one ended it
  std::string out;
  std::string err;
};

// A program that runs, with a pipe as its standard input. Pinned to its process.
class Running {
 public:
  Running(const std::vector<std::string>& command, const std::string& directory);
  ~Running();  // ends it when nobody has waited for it
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  // As much as the program takes; what it does not want to read is dropped.
  void send(const std::string& input);
  void close_input();
  // Until all input is read and it waits for more, or has ended.
  void wait_until_it_waits_for_input() const;
  void signal(int number) const;
  Ended wait();

 private:
  int process_ = -1;
  int input_ = -1;
  int out_ = -1;  // a file each: they are read when the program has ended
  int err_ = -1;
};

// A directory of its own, in which xenblk-img is run.
class ImgTest : public ::testing::Test {
 protected:
  // The words after "xenblk-img".
  Ended img(const std::vector<std::string>& words, const std::string& input = {}) const;
  // Expects that it ends well and says nothing on stderr; its output.
  std::string good(const std::vector<std::string>& words) const;
  nlohmann::json json(const std::vector<std::string>& words) const;
  // Expects that it ends so, with nothing on stdout and one line on stderr; that line without
  // "xenblk-img: " and with the directory written as "DIR".
  std::string refused(const std::vector<std::string>& words, int status = 1) const;
  Running start(const std::vector<std::string>& words) const;

  // A line of bash, in which "$img" is the program.
  Ended shell(const std::string& line) const;

  // A raw file with some data, some zeroes that are stored and some holes.
  void make_raw(const std::string& name, std::uint64_t sectors) const;
  std::string path(const std::string& name) const { return dir_.path(name); }
  std::vector<std::string> files() const;  // names, sorted
  // Bytes that the file takes on its file system.
  std::uint64_t stored_bytes(const std::string& name) const;
  std::string without_directory(std::string text) const;

  TempDir dir_;
};

}  // namespace xenblk::test
