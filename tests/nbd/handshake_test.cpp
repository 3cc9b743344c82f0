// The negotiation, byte for byte, and what garbage gets.
#include "nbd/handshake.h"

#include <gtest/gtest.h>

#include "tests/nbd/wire.h"

namespace xenblk::test {
namespace {

using nbd::Handshake;
using nbd::OptionReply;
using nbd::OptionType;

nbd::Terms terms() {
  return {.name = "disk", .size_bytes = 1 << 20, .flags = nbd::kHasFlags | nbd::kSendFlush};
}

// A handshake that was told all of `input`: where it stopped, and what it said.
struct Talk {
  Handshake handshake;
  Handshake::Next next = Handshake::Next::step;
  std::vector<std::byte> said;
  std::size_t left = 0;

  explicit Talk(const Wire& input) {
    std::span<const std::byte> rest = input.bytes();
    while (next == Handshake::Next::step) {
      std::byte memory[Handshake::kOutputBytesMax];
      nbd::ByteWriter out(memory);
      next = handshake.step(rest, terms(), out);
      said.insert(said.end(), memory, memory + out.size());
    }
    left = rest.size();
  }
};

Wire reply(OptionType option, OptionReply type, const Wire& data = {}) {
  return Wire()
      .put(nbd::kOptionReplyMagic)
      .put(option)
      .put(type)
      .put(static_cast<std::uint32_t>(data.bytes().size()))
      .add(data);
}

Wire export_facts() {
  return Wire().put(std::uint16_t{0}).put(std::uint64_t{1 << 20}).put(std::uint16_t{5});
}

Wire block_sizes() {
  return Wire()
      .put(std::uint16_t{3})
      .put(std::uint32_t{512})
      .put(std::uint32_t{4096})
      .put(std::uint32_t{32 << 20});
}

// Flags, the options, and all that was said to them.
void expect_said(const Wire& options, const Wire& said, Handshake::Next next) {
  const Talk talk(client_flags().add(options));
  EXPECT_EQ(talk.said, said.bytes());
  EXPECT_EQ(talk.next, next);
}

TEST(Handshake, GreetsAsTheProtocolSays) {
  std::byte memory[Handshake::kOutputBytesMax];
  nbd::ByteWriter out(memory);
  Handshake::greet(out);
  const auto expected = Wire().text("NBDMAGICIHAVEOPT").put(std::uint16_t{3});
  EXPECT_EQ(std::vector(memory, memory + out.size()), expected.bytes());
}

TEST(Handshake, AnswersGoWithSizeFlagsAndBlockSizes) {
  const auto go = OptionType::go;
  expect_said(option(go, wanted("")),
              reply(go, OptionReply::info, export_facts())
                  .add(reply(go, OptionReply::info, block_sizes()))
                  .add(reply(go, OptionReply::ack)),
              Handshake::Next::transmit);
}

TEST(Handshake, InfoGoesOnAndTellsTheNameToThoseWhoAsk) {
  const auto info = OptionType::info;
  expect_said(option(info, wanted("disk", {1, 3, 77})),
              reply(info, OptionReply::info, export_facts())
                  .add(reply(info, OptionReply::info, Wire().put(std::uint16_t{1}).text("disk")))
                  .add(reply(info, OptionReply::info, block_sizes()))
                  .add(reply(info, OptionReply::ack)),
              Handshake::Next::more);
}

TEST(Handshake, ListsTheExport) {
  const auto list = OptionType::list;
  expect_said(option(list),
              reply(list, OptionReply::server, Wire().put(std::uint32_t{4}).text("disk"))
                  .add(reply(list, OptionReply::ack)),
              Handshake::Next::more);
}

TEST(Handshake, ExportNameGetsZeroesUnlessTheClientDoesWithout) {
  const auto asked = option(OptionType::export_name, Wire().text("disk"));
  const auto facts = Wire().put(std::uint64_t{1 << 20}).put(std::uint16_t{5});
  expect_said(asked, facts, Handshake::Next::transmit);
  const Talk old(client_flags(1).add(asked));
  EXPECT_EQ(old.said, Wire().add(facts).fill(124, 0).bytes());
  EXPECT_EQ(old.next, Handshake::Next::transmit);
}

TEST(Handshake, WhatFollowsGoIsLeftForTheRequests) {
  const Talk talk(client_flags().add(option(OptionType::go, wanted(""))).fill(28, 1));
  EXPECT_EQ(talk.next, Handshake::Next::transmit);
  EXPECT_EQ(talk.left, 28U);
}

TEST(Handshake, BlockStatusNeedsStructuredRepliesAndTheContextsName) {
  const auto set = OptionType::set_meta_context;
  const auto structured = option(OptionType::structured_reply);
  const auto chosen = option(set, contexts("", {"qemu:dirty-bitmap:x", "base:allocation"}));
  const auto told = Wire().put(std::uint32_t{1}).text("base:allocation");
  expect_said(Wire().add(structured).add(chosen),
              reply(OptionType::structured_reply, OptionReply::ack)
                  .add(reply(set, OptionReply::meta_context, told))
                  .add(reply(set, OptionReply::ack)),
              Handshake::Next::more);
  expect_said(chosen, reply(set, OptionReply::invalid), Handshake::Next::more);
  EXPECT_TRUE(Talk(client_flags().add(structured).add(chosen)).handshake.block_status());
  EXPECT_FALSE(Talk(client_flags().add(structured).add(chosen).add(option(set, contexts("", {}))))
                   .handshake.block_status());
  EXPECT_FALSE(Talk(client_flags().add(structured).add(option(set, contexts("", {"base:"}))))
                   .handshake.block_status());
}

TEST(Handshake, ListsContextsByNameSpaceAndAll) {
  const auto list = OptionType::list_meta_context;
  const auto structured = option(OptionType::structured_reply);
  const auto told = Wire().put(std::uint32_t{0}).text("base:allocation");
  for (const auto& queries : {std::vector<std::string>{}, {"base:"}, {"base:allocation"}}) {
    expect_said(Wire().add(structured).add(option(list, contexts("", queries))),
                reply(OptionType::structured_reply, OptionReply::ack)
                    .add(reply(list, OptionReply::meta_context, told))
                    .add(reply(list, OptionReply::ack)),
                Handshake::Next::more);
  }
}

TEST(Handshake, AbortIsAcknowledgedAndCloses) {
  expect_said(option(OptionType::abort), reply(OptionType::abort, OptionReply::ack),
              Handshake::Next::close);
}

TEST(Handshake, RefusesWhatIsUnknownOrMalformedAndGoesOn) {
  struct {
    OptionType type;
    Wire data;
    OptionReply expected;
  } const cases[] = {
      {OptionType{5}, {}, OptionReply::unsupported},   // TLS
      {OptionType{11}, {}, OptionReply::unsupported},  // extended headers
      {OptionType{0xffffffff}, Wire().text("x"), OptionReply::unsupported},
      {OptionType::go, {}, OptionReply::invalid},
      {OptionType::go, wanted("other"), OptionReply::unknown},
      {OptionType::go, Wire().put(std::uint32_t{0xffffffff}).put(std::uint16_t{0}),
       OptionReply::invalid},
      {OptionType::go, Wire().put(std::uint32_t{0}).put(std::uint16_t{0xffff}),
       OptionReply::invalid},
      {OptionType::go, wanted("").text("more"), OptionReply::invalid},
      {OptionType::list, Wire().text("x"), OptionReply::invalid},
      {OptionType::structured_reply, Wire().text("x"), OptionReply::invalid},
      {OptionType::go, Wire().fill(Handshake::kOptionBytesMax + 1, 7), OptionReply::too_big},
  };
  for (const auto& one : cases) {
    expect_said(option(one.type, one.data), reply(one.type, one.expected), Handshake::Next::more);
  }
  const auto structured = option(OptionType::structured_reply);
  const auto ack = reply(OptionType::structured_reply, OptionReply::ack);
  const auto set = OptionType::set_meta_context;
  for (const auto& data : {Wire().put(std::uint32_t{0}).put(std::uint32_t{0xffffffff}),
                           Wire().put(std::uint32_t{9}), contexts("", {}).text("x")}) {
    expect_said(Wire().add(structured).add(option(set, data)),
                Wire().add(ack).add(reply(set, OptionReply::invalid)), Handshake::Next::more);
  }
}

TEST(Handshake, ClosesOnWhatIsNotTheProtocol) {
  EXPECT_EQ(Talk(client_flags(4)).next, Handshake::Next::close);
  EXPECT_EQ(Talk(client_flags().fill(16, 0x41)).next, Handshake::Next::close);
  const auto named = option(OptionType::export_name, Wire().text("other"));
  EXPECT_EQ(Talk(client_flags().add(named)).next, Handshake::Next::close);
  const auto long_name = option(OptionType::export_name, Wire().fill(9000, 0x41));
  EXPECT_EQ(Talk(client_flags().add(long_name)).next, Handshake::Next::close);
}

TEST(Handshake, EndsWithOneWhoOnlyKeepsItBusy) {
  Wire many = client_flags();
  for (std::uint32_t i = 0; i <= Handshake::kOptionsMax; ++i) many.add(option(OptionType::list));
  EXPECT_EQ(Talk(many).next, Handshake::Next::close);
}

TEST(Handshake, UnderstandsTheSameByteByByte) {
  const auto all = client_flags()
                       .add(option(OptionType::structured_reply))
                       .add(option(OptionType::go, Wire().fill(9000, 1)))
                       .add(option(OptionType::go, wanted("disk")));
  const Talk at_once(all);
  Handshake handshake;
  std::vector<std::byte> said;
  auto next = Handshake::Next::more;
  std::vector<std::byte> held;
  for (const auto byte : all.bytes()) {
    held.push_back(byte);
    do {
      std::byte memory[Handshake::kOutputBytesMax];
      nbd::ByteWriter out(memory);
      std::span<const std::byte> input = held;
      next = handshake.step(input, terms(), out);
      held = {input.begin(), input.end()};
      said.insert(said.end(), memory, memory + out.size());
    } while (next == Handshake::Next::step);
  }
  EXPECT_EQ(next, Handshake::Next::transmit);
  EXPECT_EQ(said, at_once.said);
}

}  // namespace
}  // namespace xenblk::test
