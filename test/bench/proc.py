# proc.py
#     What Linux tells of processes: CPU time and memory.
#
# It must not signal a process.

import os
import threading

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.05


def _stat(pid):
    """The fields of /proc/PID/stat that follow the name, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu(pid):
    """CPU seconds of a process so far, all its threads, ended ones too."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_children(pid):
    """CPU seconds of those children of a process that it has reaped."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) / TICKS


def cpu_exact(pid):
    """CPU seconds of the threads that a process has now, to the nanosecond."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat",
                  encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def rss_anon(pid):
    """Private memory of a process in bytes; None when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def title(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.decode("utf-8", "replace").strip()


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children",
                  encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


class Sampler(threading.Thread):
    """Watches the memory of our workers among a postmaster's children."""

    PREFIX = "postgres: rappel_conso "

    def __init__(self, postmaster):
        super().__init__(daemon=True)
        self.postmaster = postmaster
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.titles = {}
        self.peaks = {}

    def run(self):
        while not self.done.wait(SAMPLE_SECONDS):
            for pid in children(self.postmaster):
                self.look(pid)

    def look(self, pid):
        # a process has its title a moment after it was forked
        if not self.titles.get(pid, "").startswith(self.PREFIX):
            self.titles[pid] = title(pid)
        name = self.titles[pid]
        if not name.startswith(self.PREFIX):
            return
        size = rss_anon(pid)
        if size is None:
            del self.titles[pid]
            return
        name = " ".join(name[len(self.PREFIX):].split())
        with self.lock:
            self.peaks[name] = max(self.peaks.get(name, 0), size)

    def take(self):
        """{worker: peak of RssAnon} since the last call."""
        with self.lock:
            peaks, self.peaks = self.peaks, {}
        return peaks

    def stop(self):
        self.done.set()
        self.join()
