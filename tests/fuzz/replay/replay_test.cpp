// The inputs that fuzzing found worth keeping, and some that are made up on the spot.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/targets.h"

namespace xenblk::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMadeUp = 300;
#else
constexpr int kMadeUp = 3000;
#endif

class Corpus : public ::testing::TestWithParam<Target> {
 protected:
  static std::vector<std::pair<std::string, Bytes>> files() {
    std::vector<std::pair<std::string, Bytes>> found;
    const auto folder = std::filesystem::path(XENBLK_CORPUS) / GetParam().name;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      std::ifstream file(entry.path(), std::ios::binary);
      found.emplace_back(entry.path(), Bytes(std::istreambuf_iterator<char>(file), {}));
    }
    return found;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Corpus, ::testing::ValuesIn(kTargets),
                         [](const auto& param) { return std::string(param.param.name); });

// A target that finds something wrong ends the program: the name that was said last is the input.
TEST_P(Corpus, BreaksNothing) {
  const auto inputs = files();
  EXPECT_FALSE(inputs.empty());
  for (const auto& [name, bytes] : inputs) {
    SCOPED_TRACE(name);
    GetParam().run(bytes);
  }
  std::cout << inputs.size() << " inputs\n";
}

TEST_P(Corpus, BreaksNothingWhenMixed) {
  const char* text = std::getenv("XENBLK_TEST_SEED");
  const auto seed = text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  std::cout << "XENBLK_TEST_SEED=" << seed << std::endl;  // a finding ends the program
  std::mt19937_64 random(seed);
  const auto inputs = files();
  ASSERT_FALSE(inputs.empty());
  const int made_up = GetParam().slow ? kMadeUp / 100 : kMadeUp;
  for (int i = 0; i < made_up; ++i) {
    auto bytes = inputs[random() % inputs.size()].second;
    const auto& other = inputs[random() % inputs.size()].second;
    bytes.resize(std::min<std::size_t>(bytes.size(), random() % (bytes.size() + 1) + 8));
    bytes.insert(bytes.end(), other.begin(), other.end());
    for (auto changes = random() % 4; changes > 0 && !bytes.empty(); --changes) {
      bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    }
    GetParam().run(bytes);
  }
}

}  // namespace
}  // namespace xenblk::fuzz
