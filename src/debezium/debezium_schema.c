/*-------------------------------------------------------------------------
 *
 * debezium_schema.c
 *	  Reads a schema of Kafka Connect: which fields there are, and how the
 *	  values of each are written.
 *
 * The meaning of a field is the name of its schema: those of Debezium and
 * of Connect itself are listed below, all others are plain values.  Nothing
 * here may raise an error for what is in a schema.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_schema.h"

#include "debezium/debezium_scan.h"

/* Structs and arrays in one another. */
#define MAX_DEPTH		32

/* No numeric has more decimal places. */
#define MAX_SCALE		16383

#define UNSIGNED_TYPE	"__debezium.source.column.type"

/* What the members of a schema say, before it is known what they mean. */
typedef struct Members
{
	RcScanned	type;
	RcScanned	name;
	RcDebeziumPart fields;
	RcDebeziumPart items;
	RcScanned	scale;
	RcScanned	length;
	bool		has_unsigned;
} Members;

typedef struct Meaning
{
	const char *name;
	RcConnectType type;
	RcDebeziumKind kind;
	RcDebeziumUnit unit;
} Meaning;

#define DEBEZIUM	"io.debezium."
#define CONNECT		"org.apache.kafka.connect.data."

static const Meaning meanings[] = {
	{DEBEZIUM "time.Date", RC_CONNECT_INTEGER, RC_DEBEZIUM_DATE},
	{DEBEZIUM "time.Time", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIME, RC_DEBEZIUM_MILLISECONDS},
	{DEBEZIUM "time.MicroTime", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIME, RC_DEBEZIUM_MICROSECONDS},
	{DEBEZIUM "time.NanoTime", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIME, RC_DEBEZIUM_NANOSECONDS},
	{DEBEZIUM "time.Timestamp", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIMESTAMP, RC_DEBEZIUM_MILLISECONDS},
	{DEBEZIUM "time.MicroTimestamp", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIMESTAMP, RC_DEBEZIUM_MICROSECONDS},
	{DEBEZIUM "time.NanoTimestamp", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIMESTAMP, RC_DEBEZIUM_NANOSECONDS},
	{DEBEZIUM "time.MicroDuration", RC_CONNECT_INTEGER, RC_DEBEZIUM_DURATION, RC_DEBEZIUM_MICROSECONDS},
	{DEBEZIUM "time.NanoDuration", RC_CONNECT_INTEGER, RC_DEBEZIUM_DURATION, RC_DEBEZIUM_NANOSECONDS},
	{DEBEZIUM "time.IsoDate", RC_CONNECT_STRING, RC_DEBEZIUM_DATE},
	{DEBEZIUM "time.IsoTime", RC_CONNECT_STRING, RC_DEBEZIUM_TIME},
	{DEBEZIUM "time.IsoTimestamp", RC_CONNECT_STRING, RC_DEBEZIUM_TIMESTAMP},
	{DEBEZIUM "time.ZonedTime", RC_CONNECT_STRING, RC_DEBEZIUM_TIME},
	{DEBEZIUM "time.ZonedTimestamp", RC_CONNECT_STRING, RC_DEBEZIUM_TIMESTAMP},
	{DEBEZIUM "time.Interval", RC_CONNECT_STRING, RC_DEBEZIUM_DURATION},
	{DEBEZIUM "data.VariableScaleDecimal", RC_CONNECT_STRUCT, RC_DEBEZIUM_DECIMAL_STRUCT},
	{DEBEZIUM "data.Bits", RC_CONNECT_BYTES, RC_DEBEZIUM_BITS},
	{DEBEZIUM "data.Json", RC_CONNECT_STRING, RC_DEBEZIUM_JSON},
	{DEBEZIUM "data.EnumSet", RC_CONNECT_STRING, RC_DEBEZIUM_SET},
	{DEBEZIUM "data.geometry.Point", RC_CONNECT_STRUCT, RC_DEBEZIUM_GEOMETRY},
	{DEBEZIUM "data.geometry.Geometry", RC_CONNECT_STRUCT, RC_DEBEZIUM_GEOMETRY},
	{DEBEZIUM "data.geometry.Geography", RC_CONNECT_STRUCT, RC_DEBEZIUM_GEOMETRY},
	/* of pgvector, whose input is the text of the JSON array */
	{DEBEZIUM "data.FloatVector", RC_CONNECT_ARRAY, RC_DEBEZIUM_PLAIN},
	{DEBEZIUM "data.DoubleVector", RC_CONNECT_ARRAY, RC_DEBEZIUM_PLAIN},
	{CONNECT "Decimal", RC_CONNECT_BYTES, RC_DEBEZIUM_DECIMAL},
	{CONNECT "Date", RC_CONNECT_INTEGER, RC_DEBEZIUM_DATE},
	{CONNECT "Time", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIME, RC_DEBEZIUM_MILLISECONDS},
	{CONNECT "Timestamp", RC_CONNECT_INTEGER, RC_DEBEZIUM_TIMESTAMP, RC_DEBEZIUM_MILLISECONDS}
};

static const char *read_schema(RcScan *scan, RcConnectSchema *schema,
							   int depth);
static const char *read_members(RcScan *scan, RcConnectSchema *schema,
								Members *members);
static bool read_text(RcScan *scan, RcScanned *text);
static bool read_parameters(RcScan *scan, Members *members);
static bool read_type(const RcScanned *type, RcConnectSchema *schema);
static const char *read_fields(const RcDebeziumPart *part,
							   RcConnectSchema *schema, int depth);
static const char *read_items(const RcDebeziumPart *part,
							  RcConnectSchema *schema, int depth);
static const char *set_meaning(RcConnectSchema *schema,
							   const Members *members);
static bool read_whole(const RcScanned *text, int high, int *number);

/*
 * Read a schema, in the current context; it refers to nothing outside of it.
 * Returns NULL, or what is wrong: a sentence without its subject.
 */
const char *
rc_connect_schema_read(const char *json, int len, RcConnectSchema *schema)
{
	RcScan		scan;

	rc_debezium_scan_begin(&scan, json, len);
	return read_schema(&scan, schema, 1);
}

static const char *
read_schema(RcScan *scan, RcConnectSchema *schema, int depth)
{
	Members		members;
	const char *wrong;

	memset(&members, 0, sizeof(members));
	memset(schema, 0, sizeof(RcConnectSchema));
	if (depth > MAX_DEPTH)
		return "is nested too deeply";
	wrong = read_members(scan, schema, &members);
	if (wrong != NULL)
		return wrong;
	if (!read_type(&members.type, schema))
		return "has a type that is none of Kafka Connect";
	if (members.name.text != NULL)
		schema->name = pnstrdup(members.name.text, members.name.len);
	if (schema->type == RC_CONNECT_STRUCT)
		wrong = read_fields(&members.fields, schema, depth);
	else if (schema->type == RC_CONNECT_ARRAY)
		wrong = read_items(&members.items, schema, depth);
	return wrong != NULL ? wrong : set_meaning(schema, &members);
}

static const char *
read_members(RcScan *scan, RcConnectSchema *schema, Members *members)
{
	RcScanned	key;
	RcScanned	field;
	RcStep		step;
	bool		first = true;

	while ((step = rc_debezium_scan_member(scan, first, &key)) == RC_STEP_NEXT)
	{
		RcDebeziumPart other;
		bool		good;

		first = false;
		if (rc_debezium_scan_is(&key, "type"))
			good = read_text(scan, &members->type);
		else if (rc_debezium_scan_is(&key, "name"))
			good = read_text(scan, &members->name);
		else if (rc_debezium_scan_is(&key, "field"))
		{
			good = read_text(scan, &field);
			if (good && field.text != NULL)
			{
				schema->field = pnstrdup(field.text, field.len);
				schema->field_len = field.len;
			}
		}
		else if (rc_debezium_scan_is(&key, "fields"))
			good = rc_debezium_scan_skip(scan, &members->fields);
		else if (rc_debezium_scan_is(&key, "items"))
			good = rc_debezium_scan_skip(scan, &members->items);
		else if (rc_debezium_scan_is(&key, "parameters"))
			good = read_parameters(scan, members);
		else
			good = rc_debezium_scan_skip(scan, &other);
		if (!good)
			return "cannot be read";
	}
	return step == RC_STEP_END ? NULL : "is not an object";
}

/* Read a string; its text is NULL if the value is null. */
static bool
read_text(RcScan *scan, RcScanned *text)
{
	if (!rc_scan_scalar(scan, rc_scan_space(scan), text))
		return false;
	if (text->kind == JSON_TOKEN_NULL)
		text->text = NULL;
	else if (text->kind != JSON_TOKEN_STRING)
		return false;
	else if (text->escaped)
		text->text = rc_scan_unescape(text, &text->len);
	return true;
}

/* Those of a decimal, of bits and of a column, all of which are strings. */
static bool
read_parameters(RcScan *scan, Members *members)
{
	RcScanned	key;
	RcScanned	text;
	RcStep		step;
	bool		first = true;

	if (rc_scan_space(scan) == 'n')
		return rc_scan_skip(scan, 1);
	while ((step = rc_debezium_scan_member(scan, first, &key)) == RC_STEP_NEXT)
	{
		first = false;
		if (!read_text(scan, &text))
			return false;
		if (text.text == NULL)
			continue;
		if (rc_debezium_scan_is(&key, "scale"))
			members->scale = text;
		else if (rc_debezium_scan_is(&key, "length"))
			members->length = text;
		else if (rc_debezium_scan_is(&key, UNSIGNED_TYPE))
			members->has_unsigned = rc_debezium_scan_is(&text, "BIGINT UNSIGNED") ||
				rc_debezium_scan_is(&text, "BIGINT UNSIGNED ZEROFILL");
	}
	return step == RC_STEP_END;
}

static bool
read_type(const RcScanned *type, RcConnectSchema *schema)
{
	static const struct
	{
		const char *name;
		RcConnectType type;
	}			types[] =
	{
		{"int8", RC_CONNECT_INTEGER}, {"int16", RC_CONNECT_INTEGER},
		{"int32", RC_CONNECT_INTEGER}, {"int64", RC_CONNECT_INTEGER},
		{"float", RC_CONNECT_FLOAT}, {"double", RC_CONNECT_FLOAT},
		{"boolean", RC_CONNECT_BOOLEAN}, {"string", RC_CONNECT_STRING},
		{"bytes", RC_CONNECT_BYTES}, {"array", RC_CONNECT_ARRAY},
		{"map", RC_CONNECT_MAP}, {"struct", RC_CONNECT_STRUCT}
	};

	for (int i = 0; i < lengthof(types) && type->text != NULL; i++)
	{
		if (rc_debezium_scan_is(type, types[i].name))
		{
			schema->type = types[i].type;
			return true;
		}
	}
	return false;
}

static const char *
read_fields(const RcDebeziumPart *part, RcConnectSchema *schema, int depth)
{
	RcScan		scan;
	RcStep		step;
	int			room = 8;

	if (part->at == NULL)
		return "has a struct without fields";
	rc_debezium_scan_begin(&scan, part->at, part->len);
	schema->fields = palloc(room * sizeof(RcConnectSchema));
	step = rc_debezium_scan_element(&scan, true);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_element(&scan, false))
	{
		const char *wrong;

		if (schema->nfields == room)
		{
			room *= 2;
			schema->fields = repalloc(schema->fields,
									  room * sizeof(RcConnectSchema));
		}
		wrong = read_schema(&scan, &schema->fields[schema->nfields], depth + 1);
		if (wrong != NULL)
			return wrong;
		if (schema->fields[schema->nfields++].field == NULL)
			return "has a field without a name";
	}
	return step == RC_STEP_END ? NULL : "has fields that are no list";
}

static const char *
read_items(const RcDebeziumPart *part, RcConnectSchema *schema, int depth)
{
	RcConnectSchema *items = palloc(sizeof(RcConnectSchema));
	RcScan		scan;
	const char *wrong;

	if (part->at == NULL)
		return "has an array without items";
	rc_debezium_scan_begin(&scan, part->at, part->len);
	wrong = read_schema(&scan, items, depth + 1);
	schema->items = items;
	schema->value.element = &items->value;
	return wrong;
}

/* Set how values are written, by the schema's name and its type. */
static const char *
set_meaning(RcConnectSchema *schema, const Members *members)
{
	RcDebeziumType *value = &schema->value;
	const Meaning *meaning = NULL;

	for (int i = 0; i < lengthof(meanings) && schema->name != NULL; i++)
	{
		if (meanings[i].type == schema->type &&
			strcmp(meanings[i].name, schema->name) == 0)
			meaning = &meanings[i];
	}
	if (meaning != NULL)
	{
		value->kind = meaning->kind;
		value->unit = meaning->unit;
	}
	else if (schema->type == RC_CONNECT_BYTES)
		value->kind = RC_DEBEZIUM_BYTES;
	else if (schema->type == RC_CONNECT_ARRAY)
		value->kind = RC_DEBEZIUM_ARRAY;
	else if (schema->type == RC_CONNECT_MAP)
		value->kind = RC_DEBEZIUM_HSTORE;
	else if (schema->type == RC_CONNECT_INTEGER && members->has_unsigned)
		value->kind = RC_DEBEZIUM_UNSIGNED;

	if (value->kind == RC_DEBEZIUM_DECIMAL &&
		!read_whole(&members->scale, MAX_SCALE, &value->scale))
		return "has a decimal whose scale is none of type numeric";
	if (value->kind == RC_DEBEZIUM_BITS && members->length.text != NULL &&
		!read_whole(&members->length, PG_INT32_MAX / 16, &value->length))
		return "has bits without a length";
	if (value->kind == RC_DEBEZIUM_GEOMETRY)
		value->shape = strcmp(schema->name, DEBEZIUM "data.geometry.Point") == 0 ?
			RC_DEBEZIUM_POINT : RC_DEBEZIUM_EWKB;
	return NULL;
}

/* The number of a text, which may be negative as scales are. */
static bool
read_whole(const RcScanned *text, int high, int *number)
{
	int64		value = 0;
	bool		negative;

	if (text->text == NULL || text->len == 0 || text->len > 10)
		return false;
	negative = text->text[0] == '-';
	for (int i = negative; i < text->len; i++)
	{
		if (text->text[i] < '0' || text->text[i] > '9')
			return false;
		value = value * 10 + (text->text[i] - '0');
	}
	*number = negative ? -value : value;
	return text->len > negative && value <= high;
}

/* A field of a struct; NULL if it has none of that name. */
const RcConnectSchema *
rc_connect_field(const RcConnectSchema *schema, const char *name, int len)
{
	for (int i = 0; i < schema->nfields; i++)
	{
		const RcConnectSchema *field = &schema->fields[i];

		if (field->field_len == len && memcmp(field->field, name, len) == 0)
			return field;
	}
	return NULL;
}

/*
 * The struct that describes a row: that of "after" or "before" of an event,
 * itself if the record is a row; NULL if there is none.
 */
const RcConnectSchema *
rc_connect_row(const RcConnectSchema *schema, bool flat)
{
	const RcConnectSchema *row = schema;

	if (!flat)
		row = rc_connect_field(schema, "after", strlen("after"));
	if (row == NULL)
		row = rc_connect_field(schema, "before", strlen("before"));
	return (row != NULL && row->type == RC_CONNECT_STRUCT) ? row : NULL;
}

/*
 * Whether a value that begins with this character cannot be one of the schema.
 * Returns NULL if it can, or the name of what the schema has.
 */
const char *
rc_connect_contradicts(const RcConnectSchema *schema, char first)
{
	bool		number = (first == '-' || (first >= '0' && first <= '9'));

	if (first == 'n')
		return NULL;
	switch (schema->type)
	{
		case RC_CONNECT_INTEGER:
			return number ? NULL : "an integer";
		case RC_CONNECT_FLOAT:
			/* NaN and the infinities are strings */
			return number || first == '"' ? NULL : "a number";
		case RC_CONNECT_BOOLEAN:
			return first == 't' || first == 'f' ? NULL : "a boolean";
		case RC_CONNECT_STRING:
			return first == '"' ? NULL : "a string";
		case RC_CONNECT_BYTES:
			/* decimal.format = NUMERIC of the converter */
			if (number && schema->value.kind == RC_DEBEZIUM_DECIMAL)
				return NULL;
			return first == '"' ? NULL : "bytes";
		case RC_CONNECT_ARRAY:
			return first == '[' ? NULL : "an array";
		case RC_CONNECT_MAP:
			return first == '{' || first == '[' ? NULL : "a map";
		case RC_CONNECT_STRUCT:
			return first == '{' ? NULL : "a struct";
	}
	return NULL;
}
