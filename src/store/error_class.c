/*-------------------------------------------------------------------------
 *
 * error_class.c
 *	  What an error means: whether the same action may succeed later, and
 *	  whether a record can be at fault.
 *
 * Only the SQLSTATE is considered here.  The phase in which an error was
 * raised, and proof by later records, are the business of apply.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "utils/elog.h"

#include "store/error_class.h"

#define CLASS(a, b)		MAKE_SQLSTATE(a, b, '0', '0', '0')

static bool speaks_of_data(int sqlstate);
static bool speaks_of_objects(int sqlstate);

/*
 * Whether an error of this SQLSTATE is transient: connection errors, conflicts
 * with other transactions, lack of resources, operator intervention, system
 * and internal errors.
 */
bool
rc_error_is_transient(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case CLASS('0', '8'):
		case CLASS('2', '5'):
		case CLASS('4', '0'):
		case CLASS('5', '3'):
		case CLASS('5', '7'):
		case CLASS('5', '8'):
		case CLASS('H', 'V'):
		case CLASS('X', 'X'):
			return true;
		default:
			return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
				sqlstate == ERRCODE_OBJECT_IN_USE;
	}
}

/* Convert a SQLSTATE from its five characters, as stored, to an error code. */
int
rc_sqlstate(const char *code)
{
	Assert(strlen(code) == 5);
	return MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
}

/* Whether an error of this SQLSTATE may mean damage on disk. */
bool
rc_error_is_damage(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_SYSTEM_ERROR ||
		category == ERRCODE_INTERNAL_ERROR;
}

/*
 * Who is at fault for an error that was raised while records were decoded or
 * the statement was executed.  Transient errors would fail all records, so
 * none is at fault.  Errors of data are the record's.  Anything else can be
 * either: a function that rejects this record, or one that rejects them all.
 */
RcFault
rc_error_fault(const ErrorData *error)
{
	if (rc_error_is_timeout(error))
		return RC_FAULT_RECORD;
	if (rc_error_needs_proof(error->sqlerrcode))
		return RC_FAULT_UNPROVEN;
	return speaks_of_data(error->sqlerrcode) ? RC_FAULT_RECORD :
		RC_FAULT_NO_RECORD;
}

/* Whether an error of this SQLSTATE is the record's fault without proof. */
static bool
speaks_of_data(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case CLASS('2', '1'):
		case CLASS('2', '2'):
		case CLASS('2', '3'):
		case CLASS('4', '2'):
		case CLASS('4', '4'):
		case CLASS('5', '4'):
		case CLASS('P', '0'):
			return !speaks_of_objects(sqlstate);
		default:
			return false;
	}
}

/*
 * Whether an error of this SQLSTATE is the record's fault only if a later
 * record can be applied.
 */
bool
rc_error_needs_proof(int sqlstate)
{
	if (speaks_of_data(sqlstate))
		return false;
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case CLASS('F', '0'):
			return false;
		case CLASS('X', 'X'):
			return sqlstate != ERRCODE_DATA_CORRUPTED &&
				sqlstate != ERRCODE_INDEX_CORRUPTED;
		default:
			return !rc_error_is_transient(sqlstate);
	}
}

/*
 * An object that is missing, changed or not permitted.  The record may have
 * named it, or a trigger may need it for every record.
 */
static bool
speaks_of_objects(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_PARAMETER:
		case ERRCODE_AMBIGUOUS_COLUMN:
		case ERRCODE_AMBIGUOUS_FUNCTION:
		case ERRCODE_WRONG_OBJECT_TYPE:
			return true;
		default:
			return false;
	}
}

/*
 * Whether the error is statement_timeout.  A cancel by another session, and
 * user code, may raise the same SQLSTATE: only the message differs.
 */
bool
rc_error_is_timeout(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		error->message_id != NULL &&
		strcmp(error->message_id,
			   "canceling statement due to statement timeout") == 0;
}
