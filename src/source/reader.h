/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  Reading a dataset of some kind of API: what the worker asks for, and
 *	  what each kind has to provide.
 *
 * All but rc_reader_open() and rc_reader_close() wait for the network: no
 * transaction may be open.  Text is UTF-8, and what is returned palloc'd in
 * the current context, unless it says otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_READER_H
#define RC_READER_H

#include "record.h"

/* What an API knows of a dataset. */
typedef struct RcDatasetInfo
{
	char	   *data_processed; /* differs after each change of its data;
								 * NULL: it does not say */
	int64		records_count;	/* -1: it does not say */
} RcDatasetInfo;

/* What is to be read of a dataset: all of it where everything is NULL. */
typedef struct RcReadRange
{
	const char *filter;			/* in the API's own language */
	const char *cursor_field;	/* records come in its order */
	const char *key_field;		/* and in that of this one, where it is equal */
	RcFieldKind kind;			/* of the cursor field */
	const char *from;			/* its least value */
	const char *to;				/* and what it must be below */
	bool		with_nulls;		/* what has no cursor comes, too */
} RcReadRange;

typedef struct RcReader RcReader;

/*
 * A kind of API.  A new one is a file of its own with such a struct, and a row
 * of the table in reader.c.
 */
typedef struct RcReaderClass
{
	const char *name;

	/*
	 * A reader in the current memory context, which releases it with
	 * everything that it holds.  "source" is for messages; an API key that
	 * the configuration gives no host goes to that of key_url, NULL: to none.
	 */
	RcReader   *(*open) (const char *source, const char *url,
						 const char *dataset, const char *key_url);
	void		(*describe) (RcReader *reader, RcDatasetInfo *info);

	/* RC_FIELD_MISSING: the dataset has no such field */
	RcFieldKind (*field_kind) (RcReader *reader, const char *field);

	/* how many records are in the range now; -1: it cannot tell */
	int64		(*count) (RcReader *reader, const RcReadRange *range);
	void		(*start) (RcReader *reader, const RcReadRange *range);

	/*
	 * The next line of the range, which holds one record: null-terminated
	 * after len bytes, unchecked, valid until the next call.  False at the
	 * clean end.
	 */
	bool		(*next) (RcReader *reader, char **line, size_t *len);

	/* may that line be half of one, since the answer was cut unnoticed? */
	bool		(*half_line) (const RcReader *reader);

	/*
	 * What the last answer, which may have been a refusal, said of our quota,
	 * and when the API may be asked again; 0: it did not say.
	 */
	void		(*quota) (const RcReader *reader, RcQuota *quota,
						  TimestampTz *retry_at);

	/* never throws; may be called again */
	void		(*close) (RcReader *reader);
} RcReaderClass;

/* First member of the reader of each class. */
struct RcReader
{
	const RcReaderClass *class;
};

extern RcReader *rc_reader_open(const char *source, const char *url,
								const char *dataset, const char *key_url);
extern void rc_reader_close(RcReader *reader);

static inline void
rc_reader_describe(RcReader *reader, RcDatasetInfo *info)
{
	reader->class->describe(reader, info);
}

static inline RcFieldKind
rc_reader_field_kind(RcReader *reader, const char *field)
{
	return reader->class->field_kind(reader, field);
}

static inline int64
rc_reader_count(RcReader *reader, const RcReadRange *range)
{
	return reader->class->count(reader, range);
}

static inline void
rc_reader_start(RcReader *reader, const RcReadRange *range)
{
	reader->class->start(reader, range);
}

static inline bool
rc_reader_next(RcReader *reader, char **line, size_t *len)
{
	return reader->class->next(reader, line, len);
}

static inline bool
rc_reader_half_line(const RcReader *reader)
{
	return reader->class->half_line(reader);
}

static inline void
rc_reader_quota(const RcReader *reader, RcQuota *quota, TimestampTz *retry_at)
{
	reader->class->quota(reader, quota, retry_at);
}

#endif							/* RC_READER_H */
