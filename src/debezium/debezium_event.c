/*-------------------------------------------------------------------------
 *
 * debezium_event.c
 *	  Reads the envelope of a change event in one pass: what happened, where its
 *	  rows are, and when and where the source did it.
 *
 * Known are events with and without their schema, and rows that the transform
 * ExtractNewRecordState has made of them, if they say by "__op" or "__deleted"
 * what they are.  The rows are found, not read (debezium_row.c, the decoder of
 * typed records).  Nothing here may raise an error for what is in a message.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_event.h"

#define US_PER_MS	1000

/* Names of fields of ExtractNewRecordState begin so, by default. */
#define FLAT_PREFIX	"__"

/*
 * Members of what says nothing of a row.  A border of a transaction is {"status":
 * "BEGIN" or "END", "id", "event_count", "data_collections", "ts_ms"}; a change
 * of tables has "source", "databaseName", "schemaName", "ddl", "tableChanges"
 * and times.
 */
#define MARK_STATUS			0x01	/* one of those two */
#define MARK_ID				0x02
#define MARK_EVENTS			0x04	/* event_count or data_collections */
#define MARK_DDL			0x08
#define MARK_DATABASE		0x10	/* databaseName or tableChanges */
#define MARK_BORDER			(MARK_STATUS | MARK_ID | MARK_EVENTS)

/* What has been seen of a record's value. */
typedef struct Seen
{
	RcDebeziumEvent *event;
	bool		schema;
	bool		payload;
	bool		op;
	bool		rows;			/* before, after, source or message */
	bool		flat;			/* __op or __deleted */
	bool		deleted;
	char		flat_op;
	bool		times;			/* those of a heartbeat */
	int			marks;			/* MARK_.. */
	bool		others;			/* what is none of these */
	int64		processed_us;	/* __ts_ms; 0: none */
	RcDebeziumPart payload_part;
} Seen;

static RcDebeziumResult read_members(RcScan *scan, Seen *seen,
									 RcKnownSchema known, void *arg);
static bool read_member(RcScan *scan, Seen *seen, const RcScanned *key,
						RcKnownSchema known, void *arg);
static bool read_schema(RcScan *scan, Seen *seen, RcKnownSchema known,
						void *arg);
static int	mark_of(const RcScanned *key);
static bool read_mark(RcScan *scan, Seen *seen, int mark);
static bool read_op(RcScan *scan, Seen *seen);
static bool read_flat_member(RcScan *scan, Seen *seen, const RcScanned *key);
static bool read_source(RcScan *scan, RcDebeziumEvent *event);
static void take_source_member(RcDebeziumEvent *event, const RcScanned *key,
							   const RcScanned *value);
static void take_time(RcDebeziumEvent *event, const RcScanned *value,
					  int64 numerator, int64 denominator);
static bool at_end(RcScan *scan);
static bool whole(const RcScanned *value, int64 *number);
static RcDebeziumResult settle(Seen *seen, RcDebeziumPart *whole_value);
static bool is_no_row(const Seen *seen);
static RcDebeziumResult settle_flat(Seen *seen, RcDebeziumPart *whole_value);
static RcDebeziumResult is_wrong(RcDebeziumEvent *event, const char *wrong);

/*
 * Read a record's value.  flat_op is the operation that its headers have, for
 * flattened rows; '\0' if they have none.
 */
RcDebeziumResult
rc_debezium_event_read(const char *json, int len, char flat_op, RcKnownSchema known,
					   void *arg, RcDebeziumEvent *event)
{
	Seen		seen = {.event = event,.flat_op = flat_op};
	RcDebeziumPart value = {json, len};
	RcDebeziumResult result;
	RcScan		scan;

	memset(event, 0, sizeof(RcDebeziumEvent));
	rc_debezium_scan_begin(&scan, json, len);
	if (rc_scan_space(&scan) != '{')
	{
		if (!rc_scan_skip(&scan, 1) || !at_end(&scan))
			return RC_DEBEZIUM_BROKEN;
		return is_wrong(event, "It is not a JSON object.");
	}
	value.at = scan.at;
	result = read_members(&scan, &seen, known, arg);
	value.len = scan.at - value.at;
	if (result != RC_DEBEZIUM_CHANGE)
		return result;
	if (!at_end(&scan))
		return RC_DEBEZIUM_BROKEN;

	if (seen.schema && !seen.payload && !seen.op && !seen.flat)
		return is_wrong(event, "It has a schema, but no payload.");
	if (!seen.payload || !seen.schema || seen.op || seen.flat)
		event->schema.at = NULL;	/* or it is a column of that name */
	else
	{
		RcDebeziumPart schema = event->schema;

		value = seen.payload_part;
		if (value.at == NULL)
			return RC_DEBEZIUM_TOMBSTONE;
		if (*value.at != '{')
			return is_wrong(event, "Its payload is not a JSON object.");
		memset(event, 0, sizeof(RcDebeziumEvent));
		memset(&seen, 0, sizeof(seen));
		seen.event = event;
		seen.flat_op = flat_op;
		rc_debezium_scan_begin(&scan, value.at, value.len);
		result = read_members(&scan, &seen, NULL, NULL);
		event->schema = schema;
		if (result != RC_DEBEZIUM_CHANGE)
			return result;
	}
	return settle(&seen, &value);
}

/* Whether nothing follows: a key may have been read before it was verified. */
static bool
at_end(RcScan *scan)
{
	return rc_scan_space(scan) == '\0' && scan->at >= scan->end;
}

static RcDebeziumResult
read_members(RcScan *scan, Seen *seen, RcKnownSchema known, void *arg)
{
	RcScanned	key;
	RcStep		step = rc_debezium_scan_member(scan, true, &key);

	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_member(scan, false, &key))
	{
		if (!read_member(scan, seen, &key, known, arg))
			return seen->event->wrong ? RC_DEBEZIUM_WRONG : RC_DEBEZIUM_BROKEN;
	}
	return step == RC_STEP_END ? RC_DEBEZIUM_CHANGE : RC_DEBEZIUM_BROKEN;
}

/* Read what a member of an envelope, or of a flattened row, has to say. */
static bool
read_member(RcScan *scan, Seen *seen, const RcScanned *key,
			RcKnownSchema known, void *arg)
{
	RcDebeziumEvent *event = seen->event;
	RcDebeziumPart part;
	int			mark;

	switch (key->len)
	{
		case 2:
			if (rc_debezium_scan_is(key, "op"))
				return read_op(scan, seen);
			break;
		case 5:
			if (rc_debezium_scan_is(key, "after"))
			{
				seen->rows = true;
				return rc_debezium_scan_skip(scan, &event->after);
			}
			if (rc_debezium_scan_is(key, "ts_ms") || rc_debezium_scan_is(key, "ts_us") ||
				rc_debezium_scan_is(key, "ts_ns"))
			{
				seen->times = true;
				return rc_debezium_scan_skip(scan, &part);
			}
			break;
		case 6:
			if (rc_debezium_scan_is(key, "before"))
			{
				seen->rows = true;
				return rc_debezium_scan_skip(scan, &event->before);
			}
			if (rc_debezium_scan_is(key, "source"))
			{
				seen->rows = true;
				return read_source(scan, event);
			}
			if (rc_debezium_scan_is(key, "schema") && known != NULL)
				return read_schema(scan, seen, known, arg);
			break;
		case 7:
			if (rc_debezium_scan_is(key, "payload") && known != NULL)
			{
				seen->payload = true;
				return rc_debezium_scan_skip(scan, &seen->payload_part);
			}
			if (rc_debezium_scan_is(key, "message"))
			{
				seen->others = true;
				return rc_debezium_scan_skip(scan, &event->message);
			}
			break;
		default:
			break;
	}
	mark = mark_of(key);
	if (mark != 0)
		return read_mark(scan, seen, mark);
	seen->others = true;
	if (key->len > 2 && memcmp(key->text, FLAT_PREFIX, 2) == 0)
		return read_flat_member(scan, seen, key);
	return rc_debezium_scan_skip(scan, &part);
}

static int
mark_of(const RcScanned *key)
{
	switch (key->len)
	{
		case 2:
			return rc_debezium_scan_is(key, "id") ? MARK_ID : 0;
		case 3:
			return rc_debezium_scan_is(key, "ddl") ? MARK_DDL : 0;
		case 6:
			return rc_debezium_scan_is(key, "status") ? MARK_STATUS : 0;
		case 11:
			return rc_debezium_scan_is(key, "event_count") ? MARK_EVENTS : 0;
		case 12:
			return rc_debezium_scan_is(key, "databaseName") ||
				rc_debezium_scan_is(key, "tableChanges") ? MARK_DATABASE : 0;
		case 16:
			return rc_debezium_scan_is(key, "data_collections") ? MARK_EVENTS : 0;
		default:
			return 0;
	}
}

/* A status of anything else, or an id that is no text, is a column. */
static bool
read_mark(RcScan *scan, Seen *seen, int mark)
{
	RcDebeziumPart part;
	bool		good = true;

	if (!rc_debezium_scan_skip(scan, &part))
		return false;
	if (mark == MARK_STATUS)
		good = part.at != NULL &&
			((part.len == 7 && memcmp(part.at, "\"BEGIN\"", 7) == 0) ||
			 (part.len == 5 && memcmp(part.at, "\"END\"", 5) == 0));
	else if (mark == MARK_ID)
		good = part.at != NULL && *part.at == '"';
	if (good)
		seen->marks |= mark;
	else
		seen->others = true;
	return true;
}

static bool
read_schema(RcScan *scan, Seen *seen, RcKnownSchema known, void *arg)
{
	const char *end = known(arg, scan->at, scan->end);

	seen->schema = true;
	if (end == NULL)
		return rc_debezium_scan_skip(scan, &seen->event->schema);
	seen->event->schema.at = scan->at;
	seen->event->schema.len = end - scan->at;
	scan->at = end;
	return true;
}

/* The operation of a text; '\0' if it is none. */
char
rc_debezium_op(const char *text, int len)
{
	if (len == 3 && text[0] == '"' && text[2] == '"')
	{
		text++;
		len = 1;
	}
	return len == 1 && *text != '\0' && strchr("cudrtm", *text) != NULL ?
		*text : '\0';
}

static bool
read_op(RcScan *scan, Seen *seen)
{
	RcDebeziumPart part;

	if (!rc_debezium_scan_skip(scan, &part))
		return false;
	seen->op = true;
	seen->event->op = part.at ? rc_debezium_op(part.at, part.len) : '\0';
	return true;
}

/* What the transform has added to a row. */
static bool
read_flat_member(RcScan *scan, Seen *seen, const RcScanned *key)
{
	RcScanned	name = {.text = key->text + 2,.len = key->len - 2};
	RcScanned	value;
	RcDebeziumPart part;
	char		c = rc_scan_space(scan);

	if (c == '{' || c == '[')
		return rc_debezium_scan_skip(scan, &part);
	if (!rc_scan_scalar(scan, c, &value))
		return false;
	if (value.kind == JSON_TOKEN_NULL)
		return true;
	if (rc_debezium_scan_is(&name, "op"))
	{
		seen->flat = true;
		seen->flat_op = value.kind == JSON_TOKEN_STRING ?
			rc_debezium_op(value.text, value.len) : '\0';
		if (seen->flat_op == '\0')
			seen->event->wrong = "It has an unknown operation in __op.";
		return seen->flat_op != '\0';
	}
	if (rc_debezium_scan_is(&name, "deleted"))
	{
		seen->flat = true;
		seen->deleted = value.kind == JSON_TOKEN_TRUE ||
			(value.kind == JSON_TOKEN_STRING && rc_debezium_scan_is(&value, "true"));
	}
	else if (rc_debezium_scan_is(&name, "ts_ms"))
	{
		int64		ms;

		if (whole(&value, &ms) && ms <= PG_INT64_MAX / US_PER_MS &&
			ms >= PG_INT64_MIN / US_PER_MS)
			seen->processed_us = ms * US_PER_MS;
	}
	else
	{
		if (name.len > 7 && memcmp(name.text, "source_", 7) == 0)
		{
			name.text += 7;
			name.len -= 7;
		}
		take_source_member(seen->event, &name, &value);
	}
	return true;
}

/* Read the block with the place of the change in its source. */
static bool
read_source(RcScan *scan, RcDebeziumEvent *event)
{
	const char *at = scan->at;
	RcScanned	key;
	RcStep		step;

	if (rc_scan_space(scan) != '{')
		return rc_debezium_scan_skip(scan, &event->source);
	step = rc_debezium_scan_member(scan, true, &key);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_member(scan, false, &key))
	{
		RcDebeziumPart part;
		RcScanned	value;
		char		c = rc_scan_space(scan);

		if (c == '{' || c == '[')
		{
			if (!rc_debezium_scan_skip(scan, &part))
				return false;
		}
		else if (!rc_scan_scalar(scan, c, &value))
			return false;
		else
			take_source_member(event, &key, &value);
	}
	event->source.at = at;
	event->source.len = scan->at - at;
	return step == RC_STEP_END;
}

/* A finer time overrides a coarser one, in which order they come. */
static void
take_source_member(RcDebeziumEvent *event, const RcScanned *key,
				   const RcScanned *value)
{
	int64		number;

	if (key->len == 5 && memcmp(key->text, "ts_", 3) == 0)
	{
		if (rc_debezium_scan_is(key, "ts_us"))
			take_time(event, value, 1, 1);
		else if (rc_debezium_scan_is(key, "ts_ms") && !event->has_ts)
			take_time(event, value, US_PER_MS, 1);
		else if (rc_debezium_scan_is(key, "ts_ns") && !event->has_ts)
			take_time(event, value, 1, 1000);
	}
	else if (rc_debezium_scan_is(key, "lsn"))
	{
		event->has_lsn = whole(value, &number) && number >= 0;
		if (event->has_lsn)
			event->lsn = number;
	}
	else if (rc_debezium_scan_is(key, "txId"))
	{
		event->has_xid = whole(value, &number);
		if (event->has_xid)
			event->xid = number;
	}
	else if (rc_debezium_scan_is(key, "connector"))
		event->mysql = value->kind == JSON_TOKEN_STRING &&
			(rc_debezium_scan_is(value, "mysql") ||
			 rc_debezium_scan_is(value, "mariadb"));
}

/* In a snapshot a connector may write 0 for a time that it does not know. */
static void
take_time(RcDebeziumEvent *event, const RcScanned *value, int64 numerator,
		  int64 denominator)
{
	int64		number;

	if (!whole(value, &number) || number == 0 ||
		number > PG_INT64_MAX / numerator || number < PG_INT64_MIN / numerator)
		return;
	event->has_ts = true;
	event->ts_us = number * numerator / denominator;
}

static bool
whole(const RcScanned *value, int64 *number)
{
	if (value->kind != JSON_TOKEN_NUMBER || value->exponent ||
		value->scale > 0 || value->ndigits > 19 ||
		value->digits > PG_INT64_MAX)
		return false;
	*number = value->negative ? -(int64) value->digits : (int64) value->digits;
	return true;
}

/* Find out what has been read; whole_value is all of it. */
static RcDebeziumResult
settle(Seen *seen, RcDebeziumPart *whole_value)
{
	RcDebeziumEvent *event = seen->event;

	if (seen->flat || (seen->flat_op != '\0' && !(seen->op && seen->rows)))
		return settle_flat(seen, whole_value);
	if (!seen->op && is_no_row(seen))
		return RC_DEBEZIUM_SKIPPED;
	if (!seen->op)
		return is_wrong(event, "It has neither the field op of an event nor the fields __op or __deleted of a flattened one.");
	if (event->op == '\0')
		return is_wrong(event, "It has an unknown operation in op.");
	if (!seen->rows && event->message.at == NULL)
		return is_wrong(event, "It has none of the fields before, after and source.");
	if ((event->after.at != NULL && *event->after.at != '{') ||
		(event->before.at != NULL && *event->before.at != '{'))
		return is_wrong(event, "Its fields before and after are not JSON objects.");
	if (event->after.at == NULL && strchr("cur", event->op) != NULL)
		return is_wrong(event, "It has no row in the field after.");
	return RC_DEBEZIUM_CHANGE;
}

/*
 * Whether it is a heartbeat, a border of a transaction or a change of tables,
 * and not a record of another producer that has a field of the same name.
 */
static bool
is_no_row(const Seen *seen)
{
	const int	ddl = MARK_DDL | MARK_DATABASE;
	const int	border = MARK_STATUS | MARK_ID;

	if ((seen->marks & ddl) == ddl && seen->event->source.at != NULL)
		return true;
	if (seen->others || seen->rows || (seen->marks & ~MARK_BORDER) != 0)
		return false;
	if (seen->marks == 0)
		return seen->times;
	return (seen->marks & border) == border &&
		(seen->times || (seen->marks & MARK_EVENTS) != 0);
}

static RcDebeziumResult
settle_flat(Seen *seen, RcDebeziumPart *whole_value)
{
	RcDebeziumEvent *event = seen->event;

	event->flat = true;
	event->op = seen->flat_op;
	if (seen->deleted)
		event->op = 'd';
	else if (event->op == '\0')
		event->op = 'u';		/* it does not say whether the row is new */
	if (!event->has_ts && seen->processed_us != 0)
	{
		event->has_ts = true;
		event->ts_us = seen->processed_us;
	}
	event->before.at = event->after.at = event->message.at = NULL;
	if (event->op == 'd')
		event->before = *whole_value;
	else if (event->op == 'm')
		event->message = *whole_value;
	else if (event->op != 't')
		event->after = *whole_value;
	event->source = *whole_value;
	return RC_DEBEZIUM_CHANGE;
}

static RcDebeziumResult
is_wrong(RcDebeziumEvent *event, const char *wrong)
{
	event->wrong = wrong;
	return RC_DEBEZIUM_WRONG;
}

/*
 * Read a record's key: the object itself, or with its schema.  It makes a
 * tombstone if it is null, or its payload is; then there is no payload.
 */
RcDebeziumResult
rc_debezium_key_read(const char *json, int len, RcKnownSchema known, void *arg,
					 RcDebeziumPart *schema, RcDebeziumPart *payload)
{
	RcDebeziumEvent event = {0};
	Seen		seen = {.event = &event};
	RcScan		scan;
	RcScanned	key;
	RcStep		step;
	int			members = 0;

	schema->at = NULL;
	rc_debezium_scan_begin(&scan, json, len);
	if (rc_scan_space(&scan) != '{')
	{
		if (!rc_debezium_scan_skip(&scan, payload) || !at_end(&scan))
			return RC_DEBEZIUM_BROKEN;
		return payload->at == NULL ? RC_DEBEZIUM_TOMBSTONE : RC_DEBEZIUM_CHANGE;
	}
	payload->at = scan.at;
	step = rc_debezium_scan_member(&scan, true, &key);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_member(&scan, false, &key))
	{
		RcDebeziumPart part;
		bool		good;

		members++;
		if (rc_debezium_scan_is(&key, "schema"))
			good = read_schema(&scan, &seen, known, arg);
		else if (rc_debezium_scan_is(&key, "payload"))
		{
			seen.payload = true;
			good = rc_debezium_scan_skip(&scan, &seen.payload_part);
		}
		else
			good = rc_debezium_scan_skip(&scan, &part);
		if (!good)
			return RC_DEBEZIUM_BROKEN;
	}
	payload->len = scan.at - payload->at;
	if (step != RC_STEP_END || !at_end(&scan))
		return RC_DEBEZIUM_BROKEN;
	if (seen.schema && seen.payload && members == 2)
	{
		*schema = event.schema;
		*payload = seen.payload_part;
	}
	return payload->at == NULL ? RC_DEBEZIUM_TOMBSTONE : RC_DEBEZIUM_CHANGE;
}
