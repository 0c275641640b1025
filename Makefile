# rappel_conso: build, test, demo

EXTENSION   = rappel_conso
MODULE_big  = rappel_conso
SRCS        = $(wildcard src/*.c src/*/*.c)
OBJS        = $(SRCS:.c=.o)
DATA        = $(wildcard sql/*--*.sql)
PGFILEDESC  = "rappel_conso - data pipelines inside PostgreSQL"

PG_CPPFLAGS = -Isrc $(shell pkg-config --cflags libcurl rdkafka libcjson)
PG_CFLAGS   = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK  = $(shell pkg-config --libs libcurl rdkafka libcjson) -lpthread

REGRESS      = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
TAP_TESTS    = 1
PROVE_TESTS  = test/t/*.pl

with_llvm   = no
PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
