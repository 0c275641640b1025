/*-------------------------------------------------------------------------
 *
 * outbox_table.c
 *	  Inserts messages into the outbox, in the transaction that publishes
 *	  them.
 *
 * Callers have checked that the message may be sent (message.c,
 * topic_grant.c). outbox_read.c reads it again.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_table.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "store/kept_insert.h"
#include "store/query.h"

static void add_bytes(RcParams *params, NullableDatum value);
static Datum make_array(const RcOutput *output, int column, Oid type);

/*
 * Insert one message owned by the current role; key and value are bytea,
 * headers jsonb.  Returns its message_id, a uuid.
 */
Datum
rc_outbox_add(const char *topic, NullableDatum key, NullableDatum value,
			  NullableDatum headers)
{
	const char *owner = GetUserNameFromId(GetUserId(), false);
	RcOutput	row = {
		.n = 1,
		.values = {&key.value, &value.value, &headers.value},
		.nulls = {&key.isnull, &value.isnull, &headers.isnull}
	};
	RcQueryScope scope;
	RcParams	params = {0};
	Datum		message_id;
	char	   *id;

	if (rc_outbox_insert_kept(topic, NULL, owner, &row, &message_id))
		return message_id;
	rc_param_text(&params, topic);
	add_bytes(&params, value);
	add_bytes(&params, key);
	rc_param_jsonb(&params, headers.value, headers.isnull);
	rc_param_text(&params, owner);
	rc_query_begin(&scope);
	rc_query("INSERT INTO rappel_conso.outbox (topic, value, key, headers, owner)"
			 " VALUES ($1, $2, $3, $4, $5) RETURNING message_id", &params);
	id = rc_column_text(0, 1);
	rc_query_end(&scope);
	return DirectFunctionCall1(uuid_in, CStringGetDatum(id));
}

static void
add_bytes(RcParams *params, NullableDatum value)
{
	bytea	   *bytes = value.isnull ? NULL : DatumGetByteaPP(value.value);

	rc_param_bytea(params, bytes ? VARDATA_ANY(bytes) : NULL,
				   bytes ? (int) VARSIZE_ANY_EXHDR(bytes) : -1);
}

/* Insert the rows that a stream's statement returned, in their order. */
void
rc_outbox_insert(const RcStream *stream, const RcOutput *output)
{
	RcParams	params = {0};

	if (output->n == 0 ||
		rc_outbox_insert_kept(stream->output_topic, stream->name,
							  stream->owner_name, output, NULL))
		return;
	rc_param_text(&params, stream->output_topic);
	rc_param_datum(&params, BYTEAARRAYOID,
				   make_array(output, RC_OUTPUT_KEY, BYTEAOID));
	rc_param_datum(&params, BYTEAARRAYOID,
				   make_array(output, RC_OUTPUT_VALUE, BYTEAOID));
	rc_param_datum(&params, JSONBARRAYOID,
				   make_array(output, RC_OUTPUT_HEADERS, JSONBOID));
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
make_array(const RcOutput *output, int column, Oid type)
{
	int			dims[1] = {output->n};
	int			lbs[1] = {1};

	return PointerGetDatum(construct_md_array(output->values[column],
											  output->nulls[column], 1, dims,
											  lbs, type, -1, false,
											  TYPALIGN_INT));
}
