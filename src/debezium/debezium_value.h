/*-------------------------------------------------------------------------
 *
 * debezium_value.h
 *	  Values as Debezium and Kafka Connect write them into JSON.
 *
 * What needs no catalog: how a value is written is in its type, which the
 * caller has from the message's schema or from the column.  Nothing here may
 * raise an error for what is in a message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEBEZIUM_VALUE_H
#define RC_DEBEZIUM_VALUE_H

#include "postgres.h"

#include "lib/stringinfo.h"

/* How a value is written. */
typedef enum RcDebeziumKind
{
	RC_DEBEZIUM_PLAIN,			/* as JSON has it: numbers, booleans, strings;
								 * Enum, Uuid, Xml, Ltree, Year, ranges, .. An
								 * object or array is its JSON text */
	RC_DEBEZIUM_UNSIGNED,		/* integer of 64 bits without a sign, which
								 * became negative */
	RC_DEBEZIUM_DECIMAL,		/* base64 of a big integer, with our scale */
	RC_DEBEZIUM_DECIMAL_STRUCT, /* {"scale", "value"} */
	RC_DEBEZIUM_DECIMAL_TEXT,	/* a number, or a string of one */
	RC_DEBEZIUM_DECIMAL_AUTO,	/* whichever of those it is; a string that
								 * could be both is refused */
	RC_DEBEZIUM_DATE,			/* days since 1970, or ISO text */
	RC_DEBEZIUM_TIME,			/* units since midnight, or ISO text */
	RC_DEBEZIUM_TIMESTAMP,		/* units since 1970, or ISO text, with or
								 * without a zone */
	RC_DEBEZIUM_DURATION,		/* units, or ISO text (P1Y2M..) */
	RC_DEBEZIUM_BYTES,			/* base64, of either alphabet; for bytea */
	RC_DEBEZIUM_BYTES_TEXT,		/* base64 of what is the text (types that the
								 * connector does not know) */
	RC_DEBEZIUM_HEX,			/* hexadecimal digits; for bytea */
	RC_DEBEZIUM_BITS,			/* base64, little endian, of length bits, or a
								 * boolean; for bit and bit varying */
	RC_DEBEZIUM_SET,			/* "a,b": text as it is, or with an element an
								 * array */
	RC_DEBEZIUM_JSON,			/* a string whose text is JSON; anything else
								 * is itself */
	RC_DEBEZIUM_HSTORE,			/* an object of strings and nulls, or a string
								 * with the text of one; for hstore */
	RC_DEBEZIUM_GEOMETRY,		/* {"wkb", "srid"}, {"x", "y", ..} */
	RC_DEBEZIUM_ARRAY			/* of element; arrays in it are further
								 * dimensions */
} RcDebeziumKind;

typedef enum RcDebeziumUnit
{
	RC_DEBEZIUM_SECONDS,
	RC_DEBEZIUM_MILLISECONDS,
	RC_DEBEZIUM_MICROSECONDS,
	RC_DEBEZIUM_NANOSECONDS
} RcDebeziumUnit;

/* What a geometry becomes: by the type of its column. */
typedef enum RcDebeziumShape
{
	RC_DEBEZIUM_EWKB,			/* hexadecimal, with the srid: PostGIS */
	RC_DEBEZIUM_POINT,			/* PostgreSQL's own, from here */
	RC_DEBEZIUM_LINE,
	RC_DEBEZIUM_LSEG,
	RC_DEBEZIUM_BOX,
	RC_DEBEZIUM_PATH,
	RC_DEBEZIUM_POLYGON,
	RC_DEBEZIUM_CIRCLE
} RcDebeziumShape;

typedef struct RcDebeziumType
{
	RcDebeziumKind kind;
	int			scale;			/* of DECIMAL and, from the column,
								 * DECIMAL_AUTO; -1 there: base64 is not
								 * expected */
	int			length;			/* of BITS; 0: what the bytes have */
	RcDebeziumUnit unit;		/* of numbers in TIME, TIMESTAMP, DURATION */
	bool		zoned;			/* TIME, TIMESTAMP: for timetz, timestamptz,
								 * so what has no zone is given UTC */
	RcDebeziumShape shape;		/* of GEOMETRY */
	char		delimiter;		/* of ARRAY: that of the element's type; '\0'
								 * is a comma */
	const struct RcDebeziumType *element;	/* of ARRAY; of SET, if it is to
											 * become an array */
} RcDebeziumType;

/*
 * Append to "out" what the input function of PostgreSQL's type for a value
 * takes.  json, of len bytes in the server's encoding, is one JSON value, not
 * null, which need not have been parsed.  Returns NULL, or what is wrong with
 * it: a sentence without its subject (like "is not base64"); then "out" is as
 * it was.
 *
 * Ranges are left to the input functions, but for the size of a decimal.
 */
extern const char *rc_debezium_to_text(const RcDebeziumType *type,
									   const char *json, int len,
									   StringInfo out);

#endif							/* RC_DEBEZIUM_VALUE_H */
