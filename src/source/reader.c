/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  The table of the kinds of API that a source can read.
 *
 * It must not depend on how any of them works.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/explore.h"
#include "source/reader.h"

/* Used by all sources, since a source cannot choose one yet. */
#define DEFAULT_CLASS	"explore"

static const RcReaderClass *const classes[] = {
	&rc_explore_class,
};

static const RcReaderClass *find_class(const char *name);

/*
 * Prepare to read the dataset of a source; see RcReaderClass.  No request is
 * made.
 */
RcReader *
rc_reader_open(const char *source, const char *url, const char *dataset,
			   const char *key_url)
{
	const RcReaderClass *class = find_class(DEFAULT_CLASS);
	RcReader   *reader = class->open(source, url, dataset, key_url);

	reader->class = class;
	return reader;
}

/* Release the reader's resources; NULL is accepted. */
void
rc_reader_close(RcReader *reader)
{
	if (reader != NULL)
		reader->class->close(reader);
}

static const RcReaderClass *
find_class(const char *name)
{
	for (int i = 0; i < lengthof(classes); i++)
	{
		if (strcmp(classes[i]->name, name) == 0)
			return classes[i];
	}
	elog(ERROR, "unrecognized kind of API: \"%s\"", name);
	return NULL;				/* keep compiler quiet */
}
