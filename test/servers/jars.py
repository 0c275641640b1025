# jars.py
#     The jars of Apache Kafka, from Maven Central, and how Java runs them.
#
# It must not write anything outside the folder that it keeps: kafka/ of the
# folder RAPPEL_CONSO_CACHE, by default .cache at the top of the project.
#
# Beside the jars (about 60 MB) that folder may have the classes that a broker
# loads in the form that Java reads fastest ("class data sharing"), and the
# checkpoint that a new cluster begins with.  They halve what starting a broker
# takes of the processors, and nothing depends on them: a Java that finds them
# unfit does without.

import os
import shutil
import subprocess
import sys
import tempfile

from librdkafka import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.abspath(os.path.join(
    os.environ.get("RAPPEL_CONSO_CACHE", os.path.join(TOP, ".cache")), "kafka"))
FETCH_TRIES = 5
LINK = "jars"                   # to CACHE, in the folder of each cluster
CHECKPOINT = "bootstrap.checkpoint"
OPTIONS = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto",
           "-XX:-UsePerfData", "-Djava.awt.headless=true"]


def fetch():
    """Have the jars in the cache, readable by all."""
    if os.path.exists(os.path.join(CACHE, "complete")):
        return
    os.makedirs(os.path.dirname(CACHE), exist_ok=True)
    target = tempfile.mkdtemp(prefix="kafka.", dir=os.path.dirname(CACHE))
    command = ["mvn", "-q", "-B", "-f", os.path.join(HERE, "pom.xml"),
               "dependency:copy-dependencies", "-DincludeScope=runtime",
               "-DoutputDirectory=" + target]
    try:
        for attempt in range(FETCH_TRIES):
            print(f"fetching Apache Kafka (attempt {attempt + 1})",
                  file=sys.stderr)
            done = subprocess.run(command, check=False, stdout=sys.stderr,
                                  stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                break
        else:
            raise Failure("could not fetch Apache Kafka with maven")
        for name in os.listdir(target):
            os.chmod(os.path.join(target, name), 0o644)
        os.chmod(target, 0o755)
        with open(os.path.join(target, "complete"), "w", encoding="ascii"):
            pass
        shutil.rmtree(CACHE, ignore_errors=True)
        try:
            os.rename(target, CACHE)
        except OSError:
            if not os.path.exists(os.path.join(CACHE, "complete")):
                raise           # else somebody else fetched meanwhile
    except FileNotFoundError as error:
        raise Failure(f"could not run maven: {error}") from error
    finally:
        shutil.rmtree(target, ignore_errors=True)


def classes():
    """The file with the classes for the Java that there is."""
    program = os.path.realpath(shutil.which("java") or "java")
    return os.path.join(CACHE, "classes-{:x}.jsa".format(
        os.stat(program).st_mtime_ns))


def train():
    """Keep what a broker loads, and what it begins with."""
    try:
        target = classes()
        if os.path.exists(target):
            return
        with tempfile.TemporaryDirectory(prefix="train.", dir=CACHE) as folder:
            made = os.path.join(folder, "classes")
            cluster = os.path.join(folder, "cluster")
            environment = {**os.environ, "JDK_JAVA_OPTIONS":
                           "-XX:ArchiveClassesAtExit=" + made}
            for command in (["start", cluster], ["topic", cluster, "t"],
                            ["stop", cluster]):
                subprocess.run(
                    [sys.executable, os.path.join(HERE, "kafka"), *command],
                    check=True, env=environment, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL)
            checkpoint = os.path.join(cluster, "data-1", CHECKPOINT)
            for path, name in ((checkpoint, CHECKPOINT), (made, target)):
                os.chmod(path, 0o644)
                os.rename(path, os.path.join(CACHE, name))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"kafka: brokers start more slowly, for {error}", file=sys.stderr)


def java(heap, *arguments):
    """The command line of a class of Kafka's, in the folder of a cluster.

    Java takes the kept classes only with the jars by the names, in the order
    and of the age that it had seen: hence the link."""
    kept = [classes()] if os.path.exists(classes()) else []
    names = sorted(name for name in os.listdir(CACHE) if name.endswith(".jar"))
    return ["java", "-Xmx" + heap, *OPTIONS,
            *["-XX:SharedArchiveFile=" + path for path in kept], "-cp",
            ":".join(os.path.join(LINK, name) for name in names), *arguments]
