/*-------------------------------------------------------------------------
 *
 * statement_output.c
 *	  Messages into the outbox: what a stream's statement returns, and who may
 *	  publish where.
 *
 * A message is written in the transaction that emits it; outbox_read.c has
 * the way out.
 *
 *-------------------------------------------------------------------------
 */
#include "store/statement_output.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "store/known_role.h"
#include "store/message.h"
#include "store/query.h"
#include "store/stream_table.h"

static int	find_column(TupleDesc desc, const char *name);
static void check_output(const RcOutput *output, int i);
static Datum to_bytes(Oid type, Datum value);
static Datum make_array(Datum *values, bool *nulls, int n, Oid type);

/*
 * Check that a statement returns what an output topic needs: columns key and
 * value, and perhaps headers.
 */
void
rc_output_check(TupleDesc desc, const char *stream)
{
	int			headers;

	if (desc == NULL || find_column(desc, "key") < 0 ||
		find_column(desc, "value") < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("statement of stream \"%s\" must return the columns key and value",
						stream),
				 errhint("With output_topic each row that it returns (SELECT, or RETURNING) becomes a message: key, value and optionally headers jsonb.")));
	headers = find_column(desc, "headers");
	if (headers >= 0 && TupleDescAttr(desc, headers)->atttypid != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column headers that statement of stream \"%s\" returns must be jsonb, not %s",
						stream,
						format_type_be(TupleDescAttr(desc, headers)->atttypid))));
}

/* Index of a column; -1 if there is none. */
static int
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i;
	}
	return -1;
}

/*
 * Copy the rows of the SPI statement that just ran out of SPI, as bytes, into
 * the context that SPI_connect was called in.
 */
RcOutput *
rc_output_collect(const char *stream)
{
	TupleDesc	desc = SPI_tuptable ? SPI_tuptable->tupdesc : NULL;
	int			n = (int) SPI_processed;
	int			columns[3];
	MemoryContext old;
	RcOutput   *output;

	rc_output_check(desc, stream);
	columns[0] = find_column(desc, "key");
	columns[1] = find_column(desc, "value");
	columns[2] = find_column(desc, "headers");

	old = MemoryContextSwitchTo(rc_query_result_context());
	output = palloc0(sizeof(RcOutput));
	output->n = n;
	output->keys = palloc0(sizeof(Datum) * (n + 1));
	output->key_nulls = palloc0(sizeof(bool) * (n + 1));
	output->values = palloc0(sizeof(Datum) * (n + 1));
	output->value_nulls = palloc0(sizeof(bool) * (n + 1));
	output->headers = palloc0(sizeof(Datum) * (n + 1));
	output->header_nulls = palloc0(sizeof(bool) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		Datum		value;

		value = SPI_getbinval(row, desc, columns[0] + 1, &output->key_nulls[i]);
		if (!output->key_nulls[i])
			output->keys[i] = to_bytes(TupleDescAttr(desc, columns[0])->atttypid,
									   value);
		value = SPI_getbinval(row, desc, columns[1] + 1, &output->value_nulls[i]);
		if (!output->value_nulls[i])
			output->values[i] = to_bytes(TupleDescAttr(desc, columns[1])->atttypid,
										 value);
		output->header_nulls[i] = true;
		if (columns[2] >= 0)
		{
			value = SPI_getbinval(row, desc, columns[2] + 1,
								  &output->header_nulls[i]);
			if (!output->header_nulls[i])
				output->headers[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		}
		check_output(output, i);
	}
	MemoryContextSwitchTo(old);
	return output;
}

/* A row that makes no message is its record's fault: see apply.c. */
static void
check_output(const RcOutput *output, int i)
{
	NullableDatum key = {output->keys[i], output->key_nulls[i]};
	NullableDatum value = {output->values[i], output->value_nulls[i]};
	NullableDatum headers = {output->headers[i], output->header_nulls[i]};

	rc_message_check(key, value, headers);
}

/* A value as the bytes that go to Kafka: bytea as it is, else UTF-8 text. */
static Datum
to_bytes(Oid type, Datum value)
{
	Oid			output;
	bool		varlena;
	char	   *text;

	if (type == BYTEAOID)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	getTypeOutputInfo(type, &output, &varlena);
	text = OidOutputFunctionCall(output, value);
	return CStringGetTextDatum(pg_server_to_any(text, strlen(text), PG_UTF8));
}

/* Put what a stream's statement returned into the outbox, in its order. */
void
rc_outbox_insert(const RcStream *stream, const RcOutput *output)
{
	RcParams	params = {0};

	if (output->n == 0)
		return;
	rc_param_text(&params, stream->output_topic);
	rc_param_datum(&params, BYTEAARRAYOID,
				   make_array(output->keys, output->key_nulls, output->n,
							  BYTEAOID));
	rc_param_datum(&params, BYTEAARRAYOID,
				   make_array(output->values, output->value_nulls, output->n,
							  BYTEAOID));
	rc_param_datum(&params, JSONBARRAYOID,
				   make_array(output->headers, output->header_nulls,
							  output->n, JSONBOID));
	rc_param_text(&params, stream->name);
	rc_param_text(&params, stream->owner_name);
	rc_execute("INSERT INTO rappel_conso.outbox"
			   " (topic, key, value, headers, origin, owner)"
			   " SELECT $1, u.k, u.v, u.h, $5, $6"
			   " FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
			   "  pg_catalog.unnest($4)) WITH ORDINALITY AS u (k, v, h, n)"
			   " ORDER BY u.n", &params);
}

static Datum
make_array(Datum *values, bool *nulls, int n, Oid type)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};

	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs,
											  type, -1, false, TYPALIGN_INT));
}

/*
 * Whether a role may read or write a topic: superusers may, others what
 * rappel_conso.topic_grant gives to them or to a role whose rights they have.
 * A grant to a name that means no role, or another one than when it was given,
 * is void.
 */
bool
rc_topic_allowed(Oid role, const char *topic, bool write)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		allowed;

	rc_param_datum(&params, OIDOID, ObjectIdGetDatum(role));
	rc_param_text(&params, topic);
	rc_param_bool(&params, write);
	rc_query_begin(&scope);
	rc_query("SELECT EXISTS (SELECT FROM pg_catalog.pg_roles"
			 "  WHERE oid = $1 AND rolsuper)"
			 " OR EXISTS (SELECT FROM rappel_conso.topic_grant g"
			 "  JOIN rappel_conso.known_role k ON k.name = g.role"
			 "  JOIN pg_catalog.pg_roles r ON r.rolname = k.name AND r.oid = k.oid"
			 "  WHERE pg_catalog.pg_has_role($1, r.oid, 'USAGE')"
			 "  AND CASE WHEN $3 THEN g.can_write ELSE g.can_read END"
			 "  AND $2 ~ ('^' || pg_catalog.replace(pg_catalog.replace(g.topic, '.', '[.]'), '*', '.*') || '$'))",
			 &params);
	allowed = rc_column_bool(0, 1);
	rc_query_end(&scope);

	/* a grant that was restored may be of a role that nobody has noted yet */
	if (!allowed && rc_roles_fill() > 0)
		return rc_topic_allowed(role, topic, write);
	return allowed;
}
