"""What every benchmark script needs: to run a program, and to say where it ran."""

import datetime
import os
import pathlib
import platform
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def output_of(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        words = " ".join(str(part) for part in command)
        sys.exit(f"bench: failed: {words}\n{result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def direct_io_works(image):
    try:
        os.close(os.open(image, os.O_RDONLY | os.O_DIRECT))
        return True
    except OSError:
        return False


def about_machine(options):
    return {
        "revision": revision(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def revision():
    if shutil.which("git") is None:
        return "unknown"
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
