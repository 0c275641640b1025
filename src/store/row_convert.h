/*-------------------------------------------------------------------------
 *
 * row_convert.h
 *	  Values that are not written in JSON as the type of their column takes
 *	  them: which these are, by column, and what they mean.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ROW_CONVERT_H
#define RC_ROW_CONVERT_H

#include "rappel_conso.h"

#include "utils/jsonfuncs.h"

#include "debezium/debezium_schema.h"
#include "debezium/debezium_value.h"
#include "store/row_decoder.h"

/* Kinds of JSON values. */
#define RC_TOKEN_STRING		0x01
#define RC_TOKEN_NUMBER		0x02
#define RC_TOKEN_BOOLEAN	0x04
#define RC_TOKEN_OBJECT		0x08
#define RC_TOKEN_ARRAY		0x10
#define RC_TOKEN_ANY		0x1F

/* The stream's columns decimal and numeric_time. */
typedef enum RcDecimalMode
{
	RC_DECIMAL_AUTO,
	RC_DECIMAL_PRECISE,
	RC_DECIMAL_STRING,
	RC_DECIMAL_DOUBLE
} RcDecimalMode;

typedef enum RcNumericTime
{
	RC_TIME_ERROR,
	RC_TIME_SECONDS,
	RC_TIME_MILLISECONDS,
	RC_TIME_MICROSECONDS,
	RC_TIME_NANOSECONDS,
	RC_TIME_ADAPTIVE
} RcNumericTime;

/* What is known of values without a schema. */
typedef struct RcConversionRules
{
	bool		events;			/* they are Debezium's */
	bool		mysql;			/* of its connector for MySQL or MariaDB */
	RcDecimalMode decimal;
	RcNumericTime time;
} RcConversionRules;

/* How the values of a column are converted. */
typedef struct RcConversion
{
	RcDebeziumType type;
	int			tokens;			/* RC_TOKEN_.. that are; others are not */
	bool		json;			/* for json and jsonb */
	bool		bytes;			/* base64 or hexadecimal: it is not said */
	bool		wrapped;		/* base64 or hexadecimal of the text, or it */
	bool		numbers;		/* of arrays: only those of numbers */
	bool		literal;		/* a string may be the text of an array */
	bool		absent;			/* the schema does not have the column */
	const RcConnectSchema *schema;	/* of the field; NULL: none */
} RcConversion;

extern void rc_conversion_rules(const char *envelope, const char *decimal,
								const char *numeric_time,
								RcConversionRules *rules);
extern RcConversion *rc_conversions_make(const RcRowDecoder *decoder,
										 const RcConversionRules *rules,
										 const RcConnectSchema *row);

/* The RC_TOKEN_.. of a token; 0 for null. */
static inline int
rc_token_bit(JsonTokenType kind)
{
	switch (kind)
	{
		case JSON_TOKEN_STRING:
			return RC_TOKEN_STRING;
		case JSON_TOKEN_NUMBER:
			return RC_TOKEN_NUMBER;
		case JSON_TOKEN_TRUE:
		case JSON_TOKEN_FALSE:
			return RC_TOKEN_BOOLEAN;
		case JSON_TOKEN_OBJECT_START:
			return RC_TOKEN_OBJECT;
		case JSON_TOKEN_ARRAY_START:
			return RC_TOKEN_ARRAY;
		default:
			return 0;
	}
}

#endif							/* RC_ROW_CONVERT_H */
