/*-------------------------------------------------------------------------
 *
 * statement_output.c
 *	  Collects the rows that a stream's statement returns as messages for its
 *	  output topic.
 *
 * Rows are copied out of the executor here; outbox_table.c inserts them.
 *
 *-------------------------------------------------------------------------
 */
#include "store/statement_output.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "store/message.h"

static int	find_column(TupleDesc desc, const char *name);
static void check_output(const RcOutput *output, int i);
static void set_type(RcOutput *output, int column, Oid type);
static Datum to_bytes(RcOutput *output, int column, Datum value);
static void make_room(RcOutput *output);

static const char *const column_names[RC_OUTPUT_COLUMNS] = {
	[RC_OUTPUT_KEY] = "key",
	[RC_OUTPUT_VALUE] = "value",
	[RC_OUTPUT_HEADERS] = "headers"
};

/*
 * Raise ERRCODE_DATATYPE_MISMATCH unless a statement returns what an output
 * topic needs: columns key and value, and optionally headers of type jsonb.
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
				 errhint("Return key, value and, optionally, headers of type jsonb with SELECT or RETURNING, or set output_topic to null.")));
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

/* Start collecting the rows of a statement, in the current context. */
RcOutput *
rc_output_begin(TupleDesc desc, const char *stream)
{
	RcOutput   *output;

	rc_output_check(desc, stream);
	output = palloc0(sizeof(RcOutput));
	for (int i = 0; i < RC_OUTPUT_COLUMNS; i++)
	{
		int			column = find_column(desc, column_names[i]);

		output->columns[i] = column;
		if (column >= 0)
			set_type(output, i, TupleDescAttr(desc, column)->atttypid);
	}
	return output;
}

/* Text in UTF-8 has the same bytes in a column. */
static void
set_type(RcOutput *output, int column, Oid type)
{
	Oid			function;
	bool		varlena;

	output->bytes[column] = column == RC_OUTPUT_HEADERS || type == BYTEAOID ||
		((type == TEXTOID || type == VARCHAROID) &&
		 GetDatabaseEncoding() == PG_UTF8);
	getTypeOutputInfo(type, &function, &varlena);
	fmgr_info(function, &output->functions[column]);
}

/* Add a row, converted to bytes, in the current context. */
void
rc_output_add(RcOutput *output, TupleTableSlot *slot)
{
	int			at = output->n;

	if (output->n == output->room)
		make_room(output);
	for (int i = 0; i < RC_OUTPUT_COLUMNS; i++)
	{
		int			column = output->columns[i];
		bool		isnull = true;
		Datum		value = (Datum) 0;

		if (column >= 0)
			value = slot_getattr(slot, column + 1, &isnull);
		if (!isnull)
			value = to_bytes(output, i, value);
		output->values[i][at] = value;
		output->nulls[i][at] = isnull;
	}
	check_output(output, at);
	output->n++;
}

static void
make_room(RcOutput *output)
{
	int			room = Max(output->room * 2, 64);

	for (int i = 0; i < RC_OUTPUT_COLUMNS; i++)
	{
		Datum	   *values = palloc_extended(sizeof(Datum) * room,
											 MCXT_ALLOC_HUGE);
		bool	   *nulls = palloc_extended(sizeof(bool) * room,
											MCXT_ALLOC_HUGE);

		if (output->n > 0)
		{
			memcpy(values, output->values[i], sizeof(Datum) * output->n);
			memcpy(nulls, output->nulls[i], sizeof(bool) * output->n);
			pfree(output->values[i]);
			pfree(output->nulls[i]);
		}
		output->values[i] = values;
		output->nulls[i] = nulls;
	}
	output->room = room;
}

/*
 * Raise an error if the row cannot be a message.  That is the fault of a
 * record: see apply.c.
 */
static void
check_output(const RcOutput *output, int i)
{
	NullableDatum columns[RC_OUTPUT_COLUMNS];

	for (int c = 0; c < RC_OUTPUT_COLUMNS; c++)
	{
		columns[c].value = output->values[c][i];
		columns[c].isnull = output->nulls[c][i];
	}
	rc_message_check(columns[RC_OUTPUT_KEY], columns[RC_OUTPUT_VALUE],
					 columns[RC_OUTPUT_HEADERS]);
}

/*
 * Convert a value to the bytes sent to Kafka: bytea unchanged, others as their
 * text in UTF-8.  Headers stay jsonb.
 */
static Datum
to_bytes(RcOutput *output, int column, Datum value)
{
	char	   *text;

	if (output->bytes[column])
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	text = OutputFunctionCall(&output->functions[column], value);
	return CStringGetTextDatum(pg_server_to_any(text, strlen(text), PG_UTF8));
}
