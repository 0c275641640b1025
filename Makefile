# rappel_conso: build, test, demo
#
# Building is PGXS's.  What must work on a machine that has no pg_config yet
# (demo, test, deps, help) is done by scripts in test/, which call make again
# once what is missing has been installed.

EXTENSION   = rappel_conso
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(EXTENSION).control)
MODULE_big  = rappel_conso
SRCS        = $(wildcard src/*.c src/*/*.c)
OBJS        = $(SRCS:.c=.o)
PARTS       = $(sort $(wildcard sql/parts/*.sql))
SCRIPT      = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA_built  = $(SCRIPT)
DATA        = $(wildcard sql/$(EXTENSION)--*--*.sql)
PGFILEDESC  = "rappel_conso - data pipelines inside PostgreSQL"

PG_CPPFLAGS = -Isrc -DRC_VERSION=\"$(EXTVERSION)\" $(shell pkg-config --cflags libcurl rdkafka libcjson zlib 2>/dev/null)
PG_CFLAGS   = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK  = $(shell pkg-config --libs libcurl rdkafka libcjson zlib 2>/dev/null || \
	echo -lcurl -lrdkafka -lcjson -lz) -lpthread

REGRESS      = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
TAP_TESTS    = 1
PROVE_TESTS  = test/t/*.pl
EXTRA_CLEAN  = src/.flags test/bench/__pycache__ test/lib/__pycache__ \
	test/sample/__pycache__ test/servers/__pycache__

# Makefile.global would say yes; bitcode of a worker is of no use.
override with_llvm = no
PG_CONFIG  ?= pg_config
PGXS       := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

export PG_CONFIG TESTS

ifneq ($(PGXS),)
include $(PGXS)

PROVE_FLAGS += -I test/lib

# The folder is newer when a part has come or gone.
$(SCRIPT): $(PARTS) sql/parts
	cat $(PARTS) >$@

# PGXS knows nothing of headers, nor that other flags or another server make
# other objects.
FLAGS = $(PG_CONFIG) $(MAJORVERSION) $(CC) $(CFLAGS) $(CPPFLAGS)
$(OBJS): $(wildcard src/*.h src/*/*.h) src/.flags
src/.flags: .FORCE
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@
.FORCE:

else
all install installcheck clean:
	@echo 'pg_config of a PostgreSQL server for development was not found: run "make deps" first,' >&2
	@echo 'or say where it is: make PG_CONFIG=/path/to/pg_config' >&2
	@exit 1
.PHONY: all install installcheck clean
endif

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## make               builds the extension for the server of PG_CONFIG
## make install       installs it there
## make deps          installs what building and running need (Debian, Ubuntu)
## make test-deps     and what the tests need
deps:
	@test/deps build

test-deps:
	@test/deps build kafka test

## make demo          a private server, filled with recalls (a demo that is
##                    there already is replaced)
## make demo-kafka    the same through a Kafka of its own
## make demo-psql     opens psql on it
## make demo-stop     stops it
## make demo-clean    removes it
demo:
	@test/demo start
demo-kafka:
	@test/demo start-kafka
demo-psql:
	@test/demo psql
demo-stop:
	@test/demo stop
demo-clean:
	@test/demo clean

## make test          builds, installs and runs all tests, on servers of their
##                    own; TESTS="name .." runs only these TAP files
test:
	@test/run
## make matrix        builds and runs all of them on PostgreSQL 15, 16, 17 and 18;
##                    MAJORS="16 .." and TESTS="name .." choose;
##                    MAJORS=--assert: on a server that has assertions
## make test-all      the same with the slow cases, and on the machine's own server
##                    what concerns Kafka with a newer librdkafka
matrix:
	@test/matrix $(MAJORS) $(if $(TESTS),-- $(TESTS))
test-all:
	@test/fuzz/run
	@RAPPEL_CONSO_ALL=1 test/matrix
	@RAPPEL_CONSO_ALL=1 test/run --new-librdkafka 030 031 032 033 034 036 061 071 072 093 102
## make catalog       checks test/catalog, which shows whether a change of the
##                    install script changes what it makes
catalog:
	@test/catalog --self-check
## make check-docs    runs the examples of the documentation, and checks its links
check-docs:
	@test/docs --self-check
	@test/docs
	@TESTS="140_documentation 141_documentation" test/run
## make bench         runs the benchmarks, 15 minutes; BENCH="sensors recalls
##                    outbox latency search growth" picks parts (growth is not
##                    among the usual ones); BENCH_BASE=REVISION compares with
##                    that revision; BENCH_OPTIONS="--pairs 3 .."
bench:
	@test/bench/run $(if $(BENCH_BASE),--base $(BENCH_BASE)) $(BENCH_OPTIONS) $(BENCH)
## make bench-peers   the same topic into the same table by Kafka Connect and by a
##                    consumer in Python; BENCH_OPTIONS="--rows 100000"
bench-peers:
	@test/bench/run --peers $(BENCH_OPTIONS)
## make fuzz          values of Debezium by the million, without a server
fuzz:
	@test/fuzz/run
## make valgrind      syncs and streams in a server under valgrind
valgrind:
	@test/valgrind

## make indent        formats the C files with pg_bsd_indent
## make lint          shows what it would change, and fails if there is any, or
##                    if a page has a dead link or an example without a mark,
##                    if tests repeat each other's helpers, if a file of src
##                    knows what its room must not (test/layers), if an old name is
##                    or a private word (test/words) is back, if docs/errors.md is
##                    not what tools/errors writes, if data or the picture of
##                    the benchmarks are not what they should be,
##                    or if META.json and the like differ from the control
##                    file (test/release)
indent:
	@test/indent
lint: all
	@test/helpers
	@test/docs --self-check
	@test/docs
	@test/layers --self-check
	@test/layers
	@tools/rename --check
	@test/words --self-check
	@test/words
	@tools/errors --self-check
	@tools/errors --check
	@test/bench/data.py --self-check
	@test/bench/chart.py --self-check
	@test/bench/chart.py --check docs/growth.csv docs/growth.svg
	@test/release --self-check
	@test/release
	@test/indent --check

.PHONY: help deps test-deps test-all demo demo-kafka demo-psql demo-stop demo-clean \
	test matrix catalog check-docs bench bench-peers fuzz valgrind indent lint
