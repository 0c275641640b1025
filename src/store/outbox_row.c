/*-------------------------------------------------------------------------
 *
 * outbox_row.c
 *	  Rows of the outbox as parameters of SQL that is about these rows.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_row.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

/* The topic, ids and message_ids of rows of one topic, in the order of ids. */
void
rc_param_rows(RcParams *params, const RcOutboxRow *rows, int n)
{
	int64	   *ids = palloc_extended(sizeof(int64) * n, MCXT_ALLOC_HUGE);
	Datum	   *message_ids = palloc_extended(sizeof(Datum) * n, MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
	{
		Assert(i == 0 || rows[i - 1].id < rows[i].id);
		ids[i] = rows[i].id;
		message_ids[i] = UUIDPGetDatum(&rows[i].message_id);
	}
	rc_param_text(params, rows[0].topic);
	rc_param_ids(params, ids, n);
	rc_param_datum(params, UUIDARRAYOID,
				   PointerGetDatum(construct_array(message_ids, n, UUIDOID,
												   UUID_LEN, false,
												   TYPALIGN_CHAR)));
	pfree(ids);
	pfree(message_ids);
}

/* A row without one, which only a superuser can make, is known by its id. */
void
rc_outbox_row_set_id(RcOutboxRow *row, NullableDatum message_id)
{
	if (message_id.isnull)
		memset(&row->message_id, 0, sizeof(row->message_id));
	else
		row->message_id = *DatumGetUUIDP(message_id.value);
}
