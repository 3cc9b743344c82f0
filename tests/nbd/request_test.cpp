// Which requests are carried out, and what the others get.
#include "nbd/request.h"

#include <gtest/gtest.h>

#include "tests/nbd/wire.h"

namespace xenblk::test {
namespace {

using nbd::CommandType;
using nbd::NbdError;

constexpr std::uint32_t kDiskBytes = 64U << 20;

nbd::Terms terms(std::uint16_t flags = nbd::kSendTrim) {
  return {.name = "", .size_bytes = kDiskBytes, .flags = flags};
}
constexpr nbd::Agreed kAll = {true, true, 1 << 20};
constexpr nbd::Agreed kSimple = {false, false, 1 << 20};

std::optional<nbd::Request> parsed(const Wire& wire) {
  return nbd::parse_request(std::span(wire.bytes()).first<nbd::kRequestBytes>());
}

NbdError answer(const Asked& asked, const nbd::Agreed& agreed = kAll,
                const nbd::Terms& offered = terms()) {
  return nbd::check_request(*parsed(request(asked)), offered, agreed);
}

TEST(Request, IsReadFromItsBytes) {
  const Asked asked{CommandType::write, 0x0102030405060708, 0x11121314, 1, 0x2122232425262728};
  const nbd::Request expected{1, 1, 0x2122232425262728, 0x0102030405060708, 0x11121314};
  EXPECT_EQ(parsed(request(asked)), expected);
  EXPECT_EQ(parsed(Wire().put(std::uint32_t{0x25609514}).fill(24, 0)), std::nullopt);
}

TEST(Request, OnlyWritesBringData) {
  EXPECT_EQ(parsed(request({CommandType::write, 0, 700}))->payload_bytes(), 700U);
  EXPECT_EQ(parsed(request({CommandType::read, 0, 700}))->payload_bytes(), 0U);
  EXPECT_EQ(parsed(request({CommandType{99}, 0, 700}))->payload_bytes(), 0U);
}

TEST(Request, WhatIsRightIsCarriedOut) {
  const Asked cases[] = {
      {CommandType::read, 0, 512},
      {CommandType::read, kDiskBytes - 512, 512},
      {CommandType::read, 0, 32U << 20},
      {CommandType::read, 512, 1 << 20, nbd::kDontFragment},
      {CommandType::write, 512, 1024, nbd::kFua},
      {CommandType::flush},
      {CommandType::trim, 0, kDiskBytes},
      {CommandType::write_zeroes, 0, kDiskBytes, nbd::kNoHole | nbd::kFua},
      {CommandType::block_status, 0, kDiskBytes, nbd::kRequestOne},
  };
  for (const auto& asked : cases) EXPECT_EQ(answer(asked), NbdError::none) << asked.offset;
}

TEST(Request, WhatIsWrongIsRefused) {
  struct {
    Asked asked;
    NbdError expected;
  } const cases[] = {
      {{CommandType::read, 0, 0}, NbdError::invalid},
      {{CommandType::read, 1, 512}, NbdError::invalid},
      {{CommandType::read, 0, 511}, NbdError::invalid},
      {{CommandType::read, kDiskBytes, 512}, NbdError::invalid},
      {{CommandType::read, ~std::uint64_t{511}, 512}, NbdError::invalid},
      {{CommandType::read, 0, (32U << 20) + 512}, NbdError::invalid},
      {{CommandType::write, 0, (32U << 20) + 512}, NbdError::invalid},
      {{CommandType::write, kDiskBytes - 512, 1024}, NbdError::no_space},
      {{CommandType::trim, kDiskBytes - 512, 1024}, NbdError::no_space},
      {{CommandType::write_zeroes, ~std::uint64_t{511}, 1024}, NbdError::no_space},
      {{CommandType::write_zeroes, 0, 512, nbd::kFastZero}, NbdError::not_supported},
      {{CommandType::write, 0, 512, nbd::kFastZero}, NbdError::invalid},
      {{CommandType::write, 0, 512, 0x8000}, NbdError::invalid},
      {{CommandType::read, 0, (1 << 20) + 512, nbd::kDontFragment}, NbdError::overflow},
      {{CommandType::flush, 512, 0}, NbdError::invalid},
      {{CommandType::flush, 0, 512}, NbdError::invalid},
      {{CommandType{5}, 0, 512}, NbdError::invalid},  // to cache: was not offered
      {{CommandType{99}, 0, 512}, NbdError::invalid},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(answer(one.asked), one.expected) << one.asked.offset << " " << one.asked.bytes;
  }
}

TEST(Request, WhatWasNotAgreedIsRefused) {
  EXPECT_EQ(answer({CommandType::block_status, 0, 512}, kSimple), NbdError::invalid);
  EXPECT_EQ(answer({CommandType::read, 0, 512, nbd::kDontFragment}, kSimple), NbdError::invalid);
  EXPECT_EQ(answer({CommandType::trim, 0, 512}, kAll, terms(0)), NbdError::invalid);
}

TEST(Request, NothingChangesADiskThatIsReadOnly) {
  const auto read_only = terms(nbd::kReadOnly);
  for (const auto type : {CommandType::write, CommandType::trim, CommandType::write_zeroes}) {
    EXPECT_EQ(answer({type, 0, 512}, kAll, read_only), NbdError::not_permitted);
  }
  EXPECT_EQ(answer({CommandType::flush}, kAll, read_only), NbdError::none);
}

TEST(Request, RepliesHaveTheBytesOfTheProtocol) {
  std::byte memory[64];
  nbd::ByteWriter simple(memory);
  nbd::put_simple_reply(simple, NbdError::no_space, 7);
  EXPECT_EQ(
      std::vector(memory, memory + simple.size()),
      Wire().put(std::uint32_t{0x67446698}).put(std::uint32_t{28}).put(std::uint64_t{7}).bytes());
  nbd::ByteWriter chunk(memory);
  nbd::put_chunk_header(chunk, nbd::ChunkType::error, true, 7, 6);
  EXPECT_EQ(std::vector(memory, memory + chunk.size()), Wire()
                                                            .put(std::uint32_t{0x668e33ef})
                                                            .put(std::uint16_t{1})
                                                            .put(std::uint16_t{32769})
                                                            .put(std::uint64_t{7})
                                                            .put(std::uint32_t{6})
                                                            .bytes());
}

}  // namespace
}  // namespace xenblk::test
