/*-------------------------------------------------------------------------
 *
 * query_result.c
 *	  Reads the rows of the last rc_query(), column by column.
 *
 * To be used between rc_query() and rc_query_end().  Columns count from 1,
 * rows from 0, as in SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/headers_json.h"
#include "store/query.h"

/*
 * The context that rc_query_begin() was called in.  Results are copied to it,
 * because rc_query_end() frees what was allocated inside of SPI.
 */
MemoryContext
rc_query_result_context(void)
{
	void	   *anchor = SPI_palloc(1);
	MemoryContext context = GetMemoryChunkContext(anchor);

	pfree(anchor);
	return context;
}

/* lappend() in that context; "value" must be allocated there, too. */
List *
rc_result_append(List *list, void *value)
{
	MemoryContext old = MemoryContextSwitchTo(rc_query_result_context());

	list = lappend(list, value);
	MemoryContextSwitchTo(old);
	return list;
}

/* A column as text, in that context; NULL for null. */
char *
rc_column_text(int row, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row],
									 SPI_tuptable->tupdesc, column);
	char	   *copy;

	if (value == NULL)
		return NULL;
	copy = SPI_palloc(strlen(value) + 1);
	strcpy(copy, value);
	return copy;
}

/* A text[] column as a List of char *, in that context; nulls are left out. */
List *
rc_column_text_list(int row, int column)
{
	bool		isnull;
	Datum		array = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	List	   *list = NIL;
	MemoryContext inner;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &n);

	inner = MemoryContextSwitchTo(rc_query_result_context());
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			list = lappend(list, TextDatumGetCString(elements[i]));
	}
	MemoryContextSwitchTo(inner);
	return list;
}

/*
 * A bytea column, in that context, with a zero byte appended; *len is -1 for
 * null.
 */
char *
rc_column_bytes(int row, int column, int *len)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	bytea	   *bytes;
	char	   *copy;

	*len = -1;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = SPI_palloc(*len + 1);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	copy[*len] = '\0';
	if ((Pointer) bytes != DatumGetPointer(value))
		pfree(bytes);
	return copy;
}

/* Headers from a jsonb column, in that context; none for null. */
RcHeader *
rc_column_headers(int row, int column, int *n)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	MemoryContext old;
	RcHeader   *headers;

	*n = 0;
	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(rc_query_result_context());
	headers = rc_headers_from_jsonb(value, n);
	MemoryContextSwitchTo(old);
	return headers;
}

/* The datum itself, possibly toasted; valid until rc_query_end(). */
NullableDatum
rc_column_any(int row, int column)
{
	NullableDatum value;

	value.value = SPI_getbinval(SPI_tuptable->vals[row],
								SPI_tuptable->tupdesc, column, &value.isnull);
	return value;
}

int64
rc_column_int8(int row, int column, int64 if_null)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		return if_null;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, column))
	{
		case INT8OID:
			return DatumGetInt64(value);
		case INT4OID:
			return DatumGetInt32(value);
		case OIDOID:
			return DatumGetObjectId(value);
		default:
			elog(ERROR, "column %d is not an integer", column);
			return 0;			/* keep compiler quiet */
	}
}

bool
rc_column_bool(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* 0 for null. */
TimestampTz
rc_column_time(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}
