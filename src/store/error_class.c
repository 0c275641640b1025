/*-------------------------------------------------------------------------
 *
 * error_class.c
 *	  What an error means: whether the same thing may succeed later, and
 *	  whether it can be the fault of one record.
 *
 * It knows classes of SQLSTATEs only.  In which phase an error was raised, and
 * whether there is proof, is for apply.c to say.
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
 * Whether an error of this SQLSTATE may be gone at the next try: connections,
 * conflicts with others, resources, operators, the system, and internal
 * errors.
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

/* A SQLSTATE as it is stored, which is five characters, to a number. */
int
rc_sqlstate(const char *code)
{
	Assert(strlen(code) == 5);
	return MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
}

/*
 * Whether an error of this SQLSTATE is that something on disk cannot be read.
 */
bool
rc_error_is_damage(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_SYSTEM_ERROR ||
		category == ERRCODE_INTERNAL_ERROR;
}

/*
 * Whose fault an error is that was raised while records were decoded or the
 * statement was executed.  What may pass for all records is nobody's.  What
 * speaks of data is the record's.  All else can be either: a function that
 * does not like the record, or one that is broken.
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

/* Classes that are a record's fault without more ado. */
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
 * Whether an error of this SQLSTATE is a record's fault only if a later one
 * can be applied.
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
 * An object that is gone, changed or not permitted: a name that the record
 * brought, or a table that a trigger of the user needs for each of them.
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
 * Whether it is the owner's statement_timeout: a cancel by somebody else has
 * the same SQLSTATE, and so has what a user's code raises.
 */
bool
rc_error_is_timeout(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		error->message_id != NULL &&
		strcmp(error->message_id,
			   "canceling statement due to statement timeout") == 0;
}
