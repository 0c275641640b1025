/*-------------------------------------------------------------------------
 *
 * row_columns.h
 *	  What the parts of the row decoder share: row_decoder.c, row_parse.c,
 *	  fast_row.c and fast_fields.c.  No other file may include it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ROW_COLUMNS_H
#define RC_ROW_COLUMNS_H

#include "store/fast_path.h"
#include "store/json_kind.h"
#include "store/json_populate.h"
#include "store/row_convert.h"
#include "store/row_decoder.h"

/* How a column's value is converted. */
typedef enum ColumnKind
{
	COLUMN_TEXT,				/* text or unlimited varchar: no input
								 * function */
	COLUMN_SCALAR,				/* by its input function */
	COLUMN_ARRAY,				/* of scalars, each by its input function */
	COLUMN_OTHER				/* by json_populate_record() */
} ColumnKind;

typedef struct RowColumn
{
	char	   *name;			/* NULL: dropped column */
	int			name_len;
	ColumnKind	kind;
	RcFastType	fast;			/* of scalars */
	bool		byval;			/* of the type */
	int16		typlen;
	RcJsonType *type;
	bool		json;			/* json, jsonb or a domain over them */
	bool		domain;			/* a domain, which may reject null */
	FmgrInfo	input;			/* of the type, or of array elements */
	Oid			ioparam;
	int32		typmod;
	RcPopulator *populator;		/* of arrays and other kinds */

	/* of an array */
	Oid			element;
	RcJsonType *element_type;
	FmgrInfo	array_input;
	Oid			array_ioparam;
} RowColumn;

/* A token other than a string, or a string without quotes and escapes. */
typedef struct RowToken
{
	JsonTokenType kind;
	char	   *text;
} RowToken;

/* The value read for a column, the last one of duplicate keys. */
typedef struct RowValue
{
	RowToken	token;			/* kind JSON_TOKEN_INVALID: no value */
	const char *start;			/* of the JSON */
	int			len;
	bool		made;			/* already, by a fast path */
	bool		converted;		/* by what decoder->conversions says */
	bool		unavailable;	/* a placeholder of a value that is not there */
	bool		zulu;			/* a fast path was sure but for Z */
	Datum		guess;			/* what it would have made */
	bool		plain;			/* an array of scalars only */
	int			first;			/* its first entry in "elements" */
	int			nelements;
} RowValue;

struct RcRowDecoder
{
	int			natts;
	RowColumn  *columns;
	RowValue   *row;			/* by column */
	RcJsonbWriter *jsonb;
	bool		zulu;			/* Z has meant UTC in this batch */
	const RcConversion *conversions;	/* by column; NULL: none */
	RcRowPart	part;
	int			unknown;		/* fields of a row that have no column */

	/* fast_fields.c: columns of the fields that are named by field_name() */
	const char *(*field_name) (int field);
	int		   *field_columns;

	/* while a record is decoded */
	MemoryContext results;		/* of Datums; the current one is for the rest */
	JsonLexContext *lex;
	int			expected;		/* column to try first for the next key */
	int			column;			/* of the current value; -1: none */
	int			named;			/* column for errors; -1: the whole value */
	RowToken   *elements;		/* of all arrays of scalars */
	int			nelements;
	int			room;
};

/* row_parse.c */
extern void rc_row_parse(RcRowDecoder *decoder, const char *json, int len);
extern void rc_row_add_element(RcRowDecoder *decoder, RowValue *value,
							   char *token, JsonTokenType kind);

/* row_value.c */
extern bool rc_row_is_converted(const RcRowDecoder *decoder,
								const RowColumn *column,
								const RowValue *value);
extern Datum rc_row_convert(RcRowDecoder *decoder, RowColumn *column,
							const RowValue *value);
extern void rc_row_check_time(const RowColumn *column,
							  const RcConversion *conversion,
							  const RowValue *value);
extern void rc_row_check_schema(const RowColumn *column,
								const RcConversion *conversion,
								const RowValue *value);

/* fast_row.c */
extern bool rc_row_scan(RcRowDecoder *decoder, const char *json, int len,
						Datum *values);
extern bool rc_row_scan_value(RcRowDecoder *decoder, RcScan *scan, int column,
							  Datum *result);
extern void rc_row_take_text(RcRowDecoder *decoder, int column,
							 const char *text, int len, Datum *result);

/* fast_fields.c */
extern bool rc_row_take_fields(RcRowDecoder *decoder, const RcRecord *record,
							   Datum *values);

/* Whether a value that begins with a token of this kind is converted. */
static inline bool
rc_row_converts(const RcRowDecoder *decoder, int column, JsonTokenType kind)
{
	return decoder->conversions != NULL &&
		(decoder->conversions[column].tokens & rc_token_bit(kind)) != 0;
}

/*
 * The column of a key, which need not be null-terminated; -1 if there is none.
 * Keys mostly have the order of the columns: start after the last one found.
 */
static inline int
rc_row_find_column(RcRowDecoder *decoder, const char *name, int len)
{
	for (int i = 0; i < decoder->natts; i++)
	{
		int			at = decoder->expected + i;

		if (at >= decoder->natts)
			at -= decoder->natts;
		if (decoder->columns[at].name_len == len &&
			decoder->columns[at].name != NULL &&
			memcmp(decoder->columns[at].name, name, len) == 0)
		{
			decoder->expected = (at + 1 < decoder->natts) ? at + 1 : 0;
			return at;
		}
	}
	return -1;
}

#endif							/* RC_ROW_COLUMNS_H */
