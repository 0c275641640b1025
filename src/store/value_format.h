/*-------------------------------------------------------------------------
 *
 * value_format.h
 *	  Formats of keys and values: how bytes become columns of "records".
 *
 * To add one: its own file NAME_decoder.c, and a row in value_format.c.  It
 * must not catch an error, and must not let a byte into the database that has
 * not been verified: apply.c isolates the record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_VALUE_FORMAT_H
#define RC_VALUE_FORMAT_H

#include "rappel_conso.h"

#include "access/tupdesc.h"

typedef struct RcValueFormat RcValueFormat;

/*
 * Keys or values of a stream being decoded: the first member of what a format
 * keeps.  It lives in the context that it was opened in.
 */
typedef struct RcValueDecoder
{
	const RcValueFormat *format;
	const char *part;			/* "key" or "value", for errors */
	bool		says_more;		/* errors name something within the part */
} RcValueDecoder;

struct RcValueFormat
{
	const char *name;

	/* It makes all columns of a row type, which a key cannot have. */
	bool		of_row;

	/* Whether it makes this type; each type is one format's. */
	bool		(*makes) (Oid type);

	/*
	 * In the current context, once for a stream.  "row" is the descriptor of
	 * a composite type, of which nothing must be kept; else NULL.
	 */
	RcValueDecoder *(*open) (TupleDesc row);

	/* False when a type that it has looked up was altered; NULL: never. */
	bool		(*current) (const RcValueDecoder *decoder);

	/*
	 * All columns of one record, in the current context; nulls[] are false
	 * before.  Bytes that are null do not come here.  Errors: class 22.
	 */
	void		(*decode) (RcValueDecoder *decoder, const char *bytes, int len,
						   Datum *values, bool *nulls);
};

extern const RcValueFormat *rc_value_format(Oid type);
extern RcValueDecoder *rc_value_decoder_open(Oid type, const char *part,
											 TupleDesc row);
extern char *rc_value_text(const char *part, const char *bytes, int *len,
						   bool json);

#endif							/* RC_VALUE_FORMAT_H */
