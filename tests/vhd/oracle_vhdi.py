#!/usr/bin/python3
"""Reads images with libvhdi and compares them with raw files.

Each line of the standard input is one image: the raw file, the image, its parent, the parent's
parent, and so on, separated by tabs. Says what differs; exit status 1 when anything does.
"""

import sys

import pyvhdi

PART = 1 << 20


def main():
    failures = [said for line in sys.stdin for said in differences(*line.rstrip("\n").split("\t"))]
    for said in failures:
        print(said)
    return 1 if failures else 0


def differences(raw, *chain):
    images = [open_image(path) for path in chain]
    for child, parent in zip(images, images[1:]):
        child.set_parent(parent)
    with open(raw, "rb") as file:
        expected = file.read()
    image = images[0]
    if image.get_media_size() != len(expected):
        yield f"{chain[0]}: {image.get_media_size()} bytes, not {len(expected)}"
        return
    for offset in range(0, len(expected), PART):
        part = expected[offset:offset + PART]
        if image.read_buffer_at_offset(len(part), offset) != part:
            yield f"{chain[0]}: differs after {offset}"
            return


def open_image(path):
    image = pyvhdi.file()
    image.open(path)
    return image


if __name__ == "__main__":
    sys.exit(main())
