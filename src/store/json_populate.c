/*-------------------------------------------------------------------------
 *
 * json_populate.c
 *	  Converts a JSON value for one column by the server's
 *	  json_populate_record().  It is used for arrays and composite types,
 *	  whose rules differ between server versions.
 *
 * Nothing is parsed here.
 *
 *-------------------------------------------------------------------------
 */
#include "store/json_populate.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"

struct RcPopulator
{
	TupleDesc	desc;			/* of a row with only this column */
	HeapTuple	base;			/* such a row, whose column is null */
	char	   *prefix;			/* {"name": */
	Expr	   *call;			/* from which the function gets its types */
	FmgrInfo	function;
	MemoryContext context;		/* of the function's own cache */
	bool		usable;			/* the last call has not raised an error */
};

/*
 * Make a populator for a column, in the current context.  The row's column has
 * the same name, because the server's errors mention it.
 */
RcPopulator *
rc_populator_make(const char *name, Oid type, int32 typmod)
{
	RcPopulator *populator = palloc0(sizeof(RcPopulator));
	Datum		value = (Datum) 0;
	bool		isnull = true;
	StringInfoData prefix;

	populator->desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(populator->desc, 1, name, type, typmod, 0);
	populator->desc = BlessTupleDesc(populator->desc);
	populator->base = heap_form_tuple(populator->desc, &value, &isnull);

	initStringInfo(&prefix);
	appendStringInfoChar(&prefix, '{');
	escape_json(&prefix, name);
	appendStringInfoChar(&prefix, ':');
	populator->prefix = prefix.data;

	populator->call = (Expr *)
		makeFuncExpr(F_JSON_POPULATE_RECORD, RECORDOID,
					 list_make3(makeNullConst(RECORDOID, -1, InvalidOid),
								makeNullConst(JSONOID, -1, InvalidOid),
								makeBoolConst(false, false)),
					 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	populator->context = AllocSetContextCreate(CurrentMemoryContext,
											   "rappel_conso populate",
											   ALLOCSET_SMALL_SIZES);
	return populator;
}

/*
 * Convert "len" bytes of valid JSON other than null; the result is in the
 * current context.  Raises what json_populate_record() raises.
 */
Datum
rc_populate(RcPopulator *populator, const char *json, int len)
{
	StringInfoData object;
	Datum		row;
	Datum		value;
	HeapTupleData tuple;
	bool		isnull;

	/* an error may have left the function's cache half built */
	if (!populator->usable)
	{
		MemoryContextReset(populator->context);
		fmgr_info_cxt(F_JSON_POPULATE_RECORD, &populator->function,
					  populator->context);
		fmgr_info_set_expr((Node *) populator->call, &populator->function);
	}
	populator->usable = false;

	initStringInfo(&object);
	appendStringInfoString(&object, populator->prefix);
	appendBinaryStringInfo(&object, json, len);
	appendStringInfoChar(&object, '}');
	row = FunctionCall3(&populator->function,
						heap_copy_tuple_as_datum(populator->base,
												 populator->desc),
						PointerGetDatum(cstring_to_text_with_len(object.data,
																 object.len)),
						BoolGetDatum(false));
	pfree(object.data);
	populator->usable = true;

	tuple.t_data = DatumGetHeapTupleHeader(row);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	value = heap_getattr(&tuple, 1, populator->desc, &isnull);
	if (isnull)
		elog(ERROR, "a JSON value has become null");
	return value;
}
