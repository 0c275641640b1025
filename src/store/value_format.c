/*-------------------------------------------------------------------------
 *
 * value_format.c
 *	  Formats of keys and values: jsonb, the columns of a row type, text,
 *	  bytea.
 *
 * No unverified byte may enter the database, and no error may be caught:
 * apply.c isolates the record.
 *
 *-------------------------------------------------------------------------
 */
#include "store/value_format.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/jsonfuncs.h"
#include "utils/lsyscache.h"

#include "store/fast_path.h"
#include "store/row_decoder.h"

#define BYTE_ORDER_MARK		"\xEF\xBB\xBF"
#define BYTE_ORDER_MARK_LEN	3

/* Bytes of a text that an error shows. */
#define SHOWN			200

/* A zero byte and the schema's id, four bytes. */
#define REGISTRY_PREFIX_LEN	5

typedef struct JsonRow
{
	RcValueDecoder base;
	RcRowDecoder *row;
} JsonRow;

typedef struct JsonbValueDecoder
{
	RcValueDecoder base;
	RcJsonbWriter *writer;
} JsonbValueDecoder;

static RcValueDecoder *open_scalar(TupleDesc row);
static bool makes_row(Oid type);
static RcValueDecoder *open_row(TupleDesc row);
static bool row_current(RcValueDecoder *decoder);
static void decode_row(RcValueDecoder *decoder, const char *bytes, int len,
					   Datum *values, bool *nulls);
static bool decode_row_fields(RcValueDecoder *decoder, const RcRecord *record,
							  Datum *values, bool *nulls);
static bool makes_jsonb(Oid type);
static RcValueDecoder *open_jsonb(TupleDesc row);
static void decode_jsonb(RcValueDecoder *decoder, const char *bytes, int len,
						 Datum *values, bool *nulls);
static bool makes_text(Oid type);
static void decode_text(RcValueDecoder *decoder, const char *bytes, int len,
						Datum *values, bool *nulls);
static bool makes_bytea(Oid type);
static void decode_bytea(RcValueDecoder *decoder, const char *bytes, int len,
						 Datum *values, bool *nulls);
static Datum make_varlena(RcValueDecoder *decoder, const char *bytes, int len);
static void refuse_bytes(const char *part, const char *bytes, int len);

static const RcValueFormat formats[] = {
	{"json row", true, makes_row, open_row, row_current, decode_row,
	decode_row_fields},
	{"jsonb", false, makes_jsonb, open_jsonb, NULL, decode_jsonb},
	{"text", false, makes_text, open_scalar, NULL, decode_text},
	{"bytea", false, makes_bytea, open_scalar, NULL, decode_bytea}
};

/* The format that decodes to a type; NULL if none does. */
const RcValueFormat *
rc_value_format(Oid type)
{
	for (int i = 0; i < lengthof(formats); i++)
	{
		if (formats[i].makes(type))
			return &formats[i];
	}
	return NULL;
}

/*
 * Open a decoder of keys or values ("part") for a type, in the current
 * context.  "row" as for RcValueFormat.open.
 */
RcValueDecoder *
rc_value_decoder_open(Oid type, const char *part, TupleDesc row)
{
	const RcValueFormat *format = rc_value_format(type);
	RcValueDecoder *decoder;

	if (format == NULL || format->of_row != (row != NULL))
		elog(ERROR, "type %u cannot hold a record's %s", type, part);
	decoder = format->open(row);
	decoder->format = format;
	decoder->part = part;
	return decoder;
}

static RcValueDecoder *
open_scalar(TupleDesc row)
{
	return palloc0(sizeof(RcValueDecoder));
}

/* ---- the columns of a row type, from a JSON object ---- */

static bool
makes_row(Oid type)
{
	return get_typtype(type) == TYPTYPE_COMPOSITE;
}

static RcValueDecoder *
open_row(TupleDesc row)
{
	JsonRow    *decoder = palloc0(sizeof(JsonRow));

	decoder->row = rc_row_decoder_make(row);
	return &decoder->base;
}

static bool
row_current(RcValueDecoder *decoder)
{
	return rc_row_decoder_current(((JsonRow *) decoder)->row);
}

static void
decode_row(RcValueDecoder *decoder, const char *bytes, int len,
		   Datum *values, bool *nulls)
{
	char	   *json = rc_value_text(decoder->part, bytes, &len, true);

	decoder->has_context = true;	/* rc_row_decode() adds the column */
	rc_row_decode(((JsonRow *) decoder)->row, json, len, decoder->results,
				  values, nulls);
}

static bool
decode_row_fields(RcValueDecoder *decoder, const RcRecord *record,
				  Datum *values, bool *nulls)
{
	decoder->has_context = true;
	return rc_row_decode_fields(((JsonRow *) decoder)->row, record,
								decoder->results, values, nulls);
}

/* ---- jsonb ---- */

static bool
makes_jsonb(Oid type)
{
	return type == JSONBOID;
}

static RcValueDecoder *
open_jsonb(TupleDesc row)
{
	JsonbValueDecoder *decoder = palloc0(sizeof(JsonbValueDecoder));

	decoder->writer = rc_jsonb_writer_make();
	return &decoder->base;
}

static void
decode_jsonb(RcValueDecoder *decoder, const char *bytes, int len,
			 Datum *values, bool *nulls)
{
	char	   *text = rc_value_text(decoder->part, bytes, &len, true);
	char	   *json;
	MemoryContext old;

	if ((rc_fast_paths & RC_FAST_JSONB) != 0 && rc_fast_jsonb_checked &&
		rc_jsonb_fast(((JsonbValueDecoder *) decoder)->writer, text, len,
					  decoder->results, &values[0]))
		return;
	json = pnstrdup(text, len);
	values[0] = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	pfree(json);
	old = MemoryContextSwitchTo(decoder->results);
	values[0] = datumCopy(values[0], false, -1);
	MemoryContextSwitchTo(old);
}

/* ---- text ---- */

static bool
makes_text(Oid type)
{
	return type == TEXTOID;
}

static void
decode_text(RcValueDecoder *decoder, const char *bytes, int len,
			Datum *values, bool *nulls)
{
	char	   *text = rc_value_text(decoder->part, bytes, &len, false);

	values[0] = make_varlena(decoder, text, len);
}

/* ---- bytea: unchanged ---- */

static bool
makes_bytea(Oid type)
{
	return type == BYTEAOID;
}

static void
decode_bytea(RcValueDecoder *decoder, const char *bytes, int len,
			 Datum *values, bool *nulls)
{
	values[0] = make_varlena(decoder, bytes, len);
}

static Datum
make_varlena(RcValueDecoder *decoder, const char *bytes, int len)
{
	MemoryContext old = MemoryContextSwitchTo(decoder->results);
	text	   *made = cstring_to_text_with_len(bytes, len);

	MemoryContextSwitchTo(old);
	return PointerGetDatum(made);
}

/* ---- bytes to text ---- */

/*
 * Verify text and convert it to the server's encoding.  The result is not
 * null-terminated; *len is set to its length.  A byte order mark before JSON
 * is removed.  Raises ERRCODE_CHARACTER_NOT_IN_REPERTOIRE.
 */
char *
rc_value_text(const char *part, const char *bytes, int *len, bool json)
{
	return rc_value_to_server(rc_value_utf8(part, bytes, len, json), len);
}

/* The same, but the text stays as it is: UTF-8. */
const char *
rc_value_utf8(const char *part, const char *bytes, int *len, bool json)
{
	if (!pg_verify_mbstr(PG_UTF8, bytes, *len, true))
		refuse_bytes(part, bytes, *len);
	if (json && *len >= BYTE_ORDER_MARK_LEN &&
		memcmp(bytes, BYTE_ORDER_MARK, BYTE_ORDER_MARK_LEN) == 0)
	{
		bytes += BYTE_ORDER_MARK_LEN;
		*len -= BYTE_ORDER_MARK_LEN;
	}
	return bytes;
}

/* Convert text that has been verified to the server's encoding. */
char *
rc_value_to_server(const char *bytes, int *len)
{
	char	   *text;

	if (GetDatabaseEncoding() == PG_UTF8)
		return unconstify(char *, bytes);
	text = pg_any_to_server(bytes, *len, PG_UTF8);
	if (text != bytes)
		*len = strlen(text);
	return text;
}

/*
 * The beginning of a text for an error: of what has been verified as UTF-8, up
 * to SHOWN bytes of whole characters in the server's encoding, and "..." if
 * that is not all.  A character that this encoding does not have ends it: the
 * error is about something else.
 */
char *
rc_value_shown(const char *bytes, int len)
{
	int			cut = pg_encoding_mbcliplen(PG_UTF8, bytes, len, SHOWN);
	Oid			conversion = InvalidOid;
	int			size = cut * MAX_CONVERSION_GROWTH + 1;
	char	   *text = palloc(size + strlen("..."));
	int			taken = cut;

	if (GetDatabaseEncoding() != PG_UTF8)
		conversion = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	if (OidIsValid(conversion))
		taken = pg_do_encoding_conversion_buf(conversion, PG_UTF8, GetDatabaseEncoding(),
											  (unsigned char *) pnstrdup(bytes, cut),
											  cut, (unsigned char *) text, size, true);
	else
	{
		memcpy(text, bytes, cut);
		text[cut] = '\0';
	}
	if (taken < len)
		strcat(text, "...");
	return text;
}

/* Raise the error of the server's parser if a text, in UTF-8, is not JSON. */
void
rc_value_check_json(const char *json, int len)
{
	const char *text = rc_value_to_server(json, &len);
	JsonLexContext *lex = rc_make_json_lexer(text, len, GetDatabaseEncoding());
	JsonParseErrorType result = pg_parse_json(lex, &nullSemAction);

	if (result != JSON_SUCCESS)
		rc_json_raise(result, lex);
}

/* Let a decoder of typed records convert values as the rules say. */
void
rc_value_decoder_convert(RcValueDecoder *decoder,
						 const RcConversionRules *rules)
{
	RcRowDecoder *row;

	if (!decoder->format->of_row)
		return;
	row = ((JsonRow *) decoder)->row;
	rc_row_decoder_convert(row, rc_conversions_make(row, rules, NULL),
						   RC_ROW_WHOLE);
}

/*
 * Bytes that are not UTF-8 mostly come from another format, such as that of a
 * schema registry: say so in the detail, which is stored in the dead letter,
 * unlike the hint.
 */
static void
refuse_bytes(const char *part, const char *bytes, int len)
{
	const unsigned char *b = (const unsigned char *) bytes;
	bool		registry = (len > REGISTRY_PREFIX_LEN && b[0] == 0);
	StringInfoData detail;

	initStringInfo(&detail);
	if (registry)
		appendStringInfo(&detail, "It begins with %02x %02x %02x %02x %02x, as serializers of a schema registry write it (Avro, Protobuf, JSON Schema), here of schema %u.",
						 b[0], b[1], b[2], b[3], b[4],
						 ((uint32) b[1] << 24) | (b[2] << 16) | (b[3] << 8) | b[4]);
	else
	{
		int			valid = pg_encoding_verifymbstr(PG_UTF8, bytes, len);

		appendStringInfo(&detail, "From byte %d on it has", valid + 1);
		for (int i = valid; i < Min(len, valid + 4); i++)
			appendStringInfo(&detail, " 0x%02x", b[i]);
		appendStringInfoChar(&detail, '.');
	}
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("%s of the record is not valid UTF-8", part),
			 errdetail_internal("%s", detail.data),
			 registry ?
			 errhint("Configure the producer not to use a schema registry, or set the stream's %s_type to bytea.",
					 part) :
			 errhint("Configure the producer to write UTF-8, or set the stream's %s_type to bytea.",
					 part)));
}
