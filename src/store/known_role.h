/*-------------------------------------------------------------------------
 *
 * known_role.h
 *	  Which role an owner's name means.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KNOWN_ROLE_H
#define RC_KNOWN_ROLE_H

#include "rappel_conso.h"

extern PGDLLEXPORT Datum rc_role_oid(PG_FUNCTION_ARGS);
extern Oid	rc_role_resolve(const char *role_name, Oid known, bool is_known);
extern bool rc_role_known(const char *role_name, Oid *known);
extern void rc_role_store(const char *role_name, Oid role);
extern uint64 rc_roles_fill(void);
extern List *rc_role_owners(void);
extern void rc_role_lost(const char *role_name, const char *what,
						 const char *name, ErrorData *error);
pg_noreturn extern void rc_role_lost_error(const char *role_name,
										   const char *what,
										   const char *name);

#endif							/* RC_KNOWN_ROLE_H */
