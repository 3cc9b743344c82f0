// xenblk-img export, with the clients that users have: libnbd's programs, QEMU's, and fio.
#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

// Lines of bash with $uri, behind an export that is there. What it exits with, it does.
class ExportCommandTest : public ImgTest {
 protected:
  std::string with_export(const std::string& words, const std::string& lines) const {
    const auto ended = shell(
        "set -e\n"
        "exec 5< <(\"$img\" export " +
        words +
        " --socket s --persistent & echo $! >pid; wait $!;"
        " echo ended $?)\n"
        "read -r ready <&5; [ \"$ready\" = s ]\n"
        "uri=\"nbd+unix:///?socket=$PWD/s\"\n"
        "stop() { kill \"$(cat pid)\"; cat <&5; }\n" +
        lines + "\nstop\n[ ! -e s ]\n");
    EXPECT_EQ(ended.status, 0) << lines << "\n" << ended.out << ended.err;
    return ended.out;
  }
};

TEST_F(ExportCommandTest, LibnbdCopiesBothWaysAndSeesTheMap) {
  make_raw("raw", 40000);
  good({"create", "vhd:disk.vhd", "--size", "20480000"});
  const auto out = with_export("vhd:disk.vhd", R"(
    nbdcopy raw "$uri"
    nbdcopy "$uri" back
    cmp raw back
    nbdinfo --size "$uri"
    nbdinfo --can multi-conn "$uri"
    nbdinfo --is read-only "$uri" && exit 9
    nbdinfo --json --map "$uri" >map
  )");
  EXPECT_EQ(out, "20480000\nended 0\n");
  // Neighbours that lie apart in the file are one extent of the disk.
  const auto same = shell(R"("$img" map --json vhd:disk.vhd >ours; python3 - <<'END'
import itertools, json
def joined(extents):
    for key, run in itertools.groupby(extents, lambda one: one[1]):
        yield key, sum(one[0] for one in run)
ours = [(one["length"], one["kind"] == "zero") for one in json.load(open("ours"))]
theirs = [(one["length"], one["type"] == 3) for one in json.load(open("map"))]
assert len(theirs) > 1, theirs
assert list(joined(ours)) == list(joined(theirs)), (ours, theirs)
END
)");
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_EQ(good({"check", "disk.vhd"}), "DIR/disk.vhd: good\n");
}

TEST_F(ExportCommandTest, QemuReadsWritesAndCompares) {
  make_raw("raw", 40000);
  good({"convert", "raw:raw", "vhd:disk.vhd"});
  with_export("vhd:disk.vhd", R"(
    qemu-img compare -f raw -F raw raw "$uri"
    qemu-img convert -f raw -O raw "$uri" copy
    cmp raw copy
    qemu-io -f raw -c 'write -P 7 1M 64k' -c flush -c 'write -f -P 8 2M 4k' \
      -c 'write -z 3M 1M' -c 'write -z -u 4M 1M' -c 'discard 5M 2M' \
      -c 'read -P 7 1M 64k' -c 'read -P 8 2M 4k' -c 'read -P 0 3M 2M' "$uri" >io
    grep -q failed io && { cat io; exit 9; }
    for test in 'write -P 9 1M 64k' 'read -P 9 1M 64k'; do
      qemu-io -f raw -c "$test" "$uri" >/dev/null
    done
    qemu-img convert -f raw -O raw "$uri" after
  )");
  good({"compare", "raw:after", "vhd:disk.vhd"});
}

TEST_F(ExportCommandTest, SeveralConnectionsVerifyWhatTheyWrote) {
  good({"create", "vhd:disk.vhd", "--size", "64M"});
  with_export("vhd:disk.vhd", R"(
    fio --ioengine=nbd --uri="$uri" --rw=randrw --size=32M --bsrange=4k-128k --iodepth=32 \
      --io_size=64M --verify=crc32c --verify_fatal=1 --name=one --name=two --offset=32M \
      >fio.log 2>&1 ||
      { cat fio.log; exit 9; }
  )");
  EXPECT_EQ(good({"check", "disk.vhd"}), "DIR/disk.vhd: good\n");
}

TEST_F(ExportCommandTest, EndsWithItsLastClient) {
  make_raw("raw", 100);
  const auto ended = shell(
      "exec 5< <(\"$img\" export raw:raw --socket s --read-only; echo ended $?)\n"
      "read -r ready <&5\n"
      "nbdinfo --is read-only \"nbd+unix:///?socket=$PWD/s\" && cat <&5 && [ ! -e s ]");
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out, "ended 0\n");
}

TEST_F(ExportCommandTest, GoesOnWhenAnotherOneIsRefusedItsSocket) {
  make_raw("raw", 100);
  make_raw("other", 100);
  const auto ended = shell(
      "exec 5< <(\"$img\" export raw:raw --socket s --read-only; echo ended $?)\n"
      "read -r ready <&5\n"
      "\"$img\" export raw:other --socket s; echo refused $?\n"
      "nbdinfo --size \"nbd+unix:///?socket=$PWD/s\" && cat <&5");
  EXPECT_EQ(ended.err, "xenblk-img: s is in use by another server\n");
  EXPECT_EQ(ended.out, "refused 1\n5632000\nended 0\n");
}

TEST_F(ExportCommandTest, TheExampleOfItsPageWorksAsItStandsThere) {
  make_raw("raw", 40000);
  good({"convert", "raw:raw", "vhd:disk.vhd"});
  std::ifstream file(XENBLK_NBD_PAGE);
  std::string page((std::istreambuf_iterator<char>(file)), {});
  page.erase(0, page.find("## An image that no guest has"));
  const auto begin = page.find("```bash\n") + 8;
  auto example = page.substr(begin, page.find("```\n", begin) - begin);
  for (const std::string directory : {"/srv/", "/run/", "/backup/"}) {
    for (std::size_t at; (at = example.find(directory)) != std::string::npos;) {
      example.replace(at, directory.size(), path(""));
    }
  }
  const auto ended = shell("set -e; ln -s \"$img\" xenblk-img; PATH=$PWD:$PATH\n" + example);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_TRUE(file_bytes(path("disk.raw")) == file_bytes(path("raw")));
  EXPECT_EQ(files(), (std::vector<std::string>{"disk.raw", "disk.vhd", "raw", "xenblk-img"}));
}

TEST_F(ExportCommandTest, SaysWhatIsWrong) {
  make_raw("raw", 100);
  EXPECT_EQ(refused({"export", "raw:raw", "--socket", path("raw")}),
            "DIR/raw exists and is no socket");
  EXPECT_EQ(refused({"export", "raw:raw"}, 2),
            "--socket is required (see xenblk-img export --help)");
}

}  // namespace
}  // namespace xenblk::test
