/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  Reading a dataset: the interface that each kind of API has to provide
 *	  to the worker.
 *
 * All functions but rc_reader_open() and rc_reader_close() wait for the
 * network: no transaction may be open.  Text is UTF-8.  Results are palloc'd
 * in the current context, unless the function's comment says otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_READER_H
#define RC_READER_H

#include "record.h"

/* An API's description of a dataset. */
typedef struct RcDatasetInfo
{
	char	   *data_processed; /* differs after each change of its data;
								 * NULL: unknown */
	int64		records_count;	/* -1: unknown */
} RcDatasetInfo;

/* Which records of a dataset to read; all of them if each pointer is NULL. */
typedef struct RcReadRange
{
	const char *filter;			/* in the API's query language */
	const char *cursor_field;	/* records are sorted by it */
	const char *key_field;		/* and by this one where it is equal */
	RcFieldKind kind;			/* of the cursor field */
	const char *from;			/* lower bound, included */
	const char *to;				/* upper bound, excluded */
	bool		with_nulls;		/* include records without a cursor */
} RcReadRange;

typedef struct RcReader RcReader;

/*
 * A kind of API.  To add one, write a file with such a struct and add it to
 * the table in reader.c.
 */
typedef struct RcReaderClass
{
	const char *name;

	/*
	 * Create a reader in the current memory context, whose reset releases its
	 * resources.  "source" is for messages.  An API key for which the
	 * configuration file names no host is sent to that of key_url (NULL: to
	 * none).
	 */
	RcReader   *(*open) (const char *source, const char *url,
						 const char *dataset, const char *key_url);
	void		(*describe) (RcReader *reader, RcDatasetInfo *info);

	/* RC_FIELD_MISSING if the dataset has no such field */
	RcFieldKind (*field_kind) (RcReader *reader, const char *field);

	/* the number of records in the range; -1: unknown */
	int64		(*count) (RcReader *reader, const RcReadRange *range);
	void		(*start) (RcReader *reader, const RcReadRange *range);

	/*
	 * The next line of the range, which contains one record: null-terminated
	 * after len bytes, unchecked, valid until the next call.  Returns false
	 * at the end of a complete response.
	 */
	bool		(*next) (RcReader *reader, char **line, size_t *len);

	/* can the last line be truncated? see rc_http_half_line() */
	bool		(*half_line) (const RcReader *reader);

	/*
	 * The quota that the last response, or error, has reported; and when the
	 * next request is allowed (0: not reported).
	 */
	void		(*quota) (const RcReader *reader, RcQuota *quota,
						  TimestampTz *retry_at);

	/* must not throw; may be called twice */
	void		(*close) (RcReader *reader);
} RcReaderClass;

/* The first member of each class's own struct. */
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
