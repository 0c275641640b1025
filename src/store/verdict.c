/*-------------------------------------------------------------------------
 *
 * verdict.c
 *	  What an error means: whether the same thing may succeed later, or
 *	  somebody has to mend something first.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "utils/elog.h"

/*
 * What an error that left rc_apply means: whether the batch may pass next
 * time, or the stream has failed.
 */
RcVerdict
rc_error_verdict(const ErrorData *error)
{
	return rc_error_may_pass(error->sqlerrcode) ? RC_VERDICT_RETRY :
		RC_VERDICT_FAILED;
}

/*
 * Whether an error of this SQLSTATE may be gone at the next try: connections,
 * conflicts with others, resources, operators, the system, and internal
 * errors.
 */
bool
rc_error_may_pass(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case MAKE_SQLSTATE('0', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('H', 'V', '0', '0', '0'):
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):
			return true;
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):
			return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
				sqlstate == ERRCODE_OBJECT_IN_USE;
		default:
			return false;
	}
}
