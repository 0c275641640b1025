/*-------------------------------------------------------------------------
 *
 * value_format.h
 *	  Formats of keys and values: how bytes become columns of "records".
 *
 * To add one, write its own file NAME_decoder.c and add a row in
 * value_format.c.  It must not catch errors, since apply.c isolates the
 * record, and must verify each byte that it stores.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_VALUE_FORMAT_H
#define RC_VALUE_FORMAT_H

#include "rappel_conso.h"
#include "record.h"
#include "store/row_convert.h"

#include "access/tupdesc.h"

typedef struct RcValueFormat RcValueFormat;

/*
 * Decoder of a stream's keys or values: the first member of each format's own
 * struct.  Lives in the context in which it was opened.
 */
typedef struct RcValueDecoder
{
	const RcValueFormat *format;
	const char *part;			/* "key" or "value", for errors */
	bool		has_context;	/* errors have a context of their own */
	MemoryContext results;		/* see "decode" below */
} RcValueDecoder;

struct RcValueFormat
{
	const char *name;

	/* It decodes to all columns of a row type; not for keys. */
	bool		of_row;

	/* Whether it decodes to this type; at most one format does. */
	bool		(*makes) (Oid type);

	/*
	 * Open a decoder for a stream, in the current context.  "row" is the
	 * descriptor of a composite type, which must not be referenced later;
	 * else NULL.
	 */
	RcValueDecoder *(*open) (TupleDesc row);

	/*
	 * Called before each batch: false if a type that it has looked up was
	 * altered since.  NULL: never.
	 */
	bool		(*current) (RcValueDecoder *decoder);

	/*
	 * Decode all columns of one record.  What values point to is allocated in
	 * the decoder's context "results"; the current one is reset after the
	 * record.  nulls[] is false on entry; null keys and values are not
	 * passed.  Errors: class 22.
	 */
	void		(*decode) (RcValueDecoder *decoder, const char *bytes, int len,
						   Datum *values, bool *nulls);

	/*
	 * The same for a value that is packed.  Returns false if it must be
	 * decoded as bytes.  NULL: always.
	 */
	bool		(*decode_fields) (RcValueDecoder *decoder,
								  const RcRecord *record, Datum *values,
								  bool *nulls);
};

extern const RcValueFormat *rc_value_format(Oid type);
extern RcValueDecoder *rc_value_decoder_open(Oid type, const char *part,
											 TupleDesc row);
extern char *rc_value_text(const char *part, const char *bytes, int *len,
						   bool json);
extern const char *rc_value_utf8(const char *part, const char *bytes, int *len,
								 bool json);
extern char *rc_value_to_server(const char *bytes, int *len);
extern char *rc_value_shown(const char *bytes, int len);
extern void rc_value_check_json(const char *json, int len);
extern void rc_value_decoder_convert(RcValueDecoder *decoder,
									 const RcConversionRules *rules);

#endif							/* RC_VALUE_FORMAT_H */
