/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between the PostgreSQL versions that we build against
 *	  (15 to 18).  No other file may mention PG_VERSION_NUM.
 *
 * Each difference is hidden behind a macro that means the same on all
 * versions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_COMPAT_H
#define RC_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "rappel_conso needs PostgreSQL 15 or newer"
#endif

/* 16: the macros of varlena headers are no longer in postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16: the JSON parser's callbacks return an error code. */
#if PG_VERSION_NUM >= 160000
#define RC_JSON_RESULT			JsonParseErrorType
#define RC_JSON_RETURN			return JSON_SUCCESS
#else
#define RC_JSON_RESULT			void
#define RC_JSON_RETURN			return
#endif

/* 16: lists in shared memory are those of lib/ilist.h. */
#if PG_VERSION_NUM >= 160000
#define rc_proclock_first(list) \
	(dlist_is_empty(list) ? NULL : dlist_head_element(PROCLOCK, procLink, list))
#define rc_proclock_next(list, proclock) \
	(dlist_has_next(list, &(proclock)->procLink) ? \
	 dlist_container(PROCLOCK, procLink, \
					 dlist_next_node(list, &(proclock)->procLink)) : NULL)
#else
#define rc_proclock_first(list) \
	((PROCLOCK *) SHMQueueNext(list, list, offsetof(PROCLOCK, procLink)))
#define rc_proclock_next(list, proclock) \
	((PROCLOCK *) SHMQueueNext(list, &(proclock)->procLink, \
							   offsetof(PROCLOCK, procLink)))
#endif

/* 16: an error of the JSON parser can be saved instead of raised. */
#if PG_VERSION_NUM >= 160000
#define rc_json_raise(error, lex)	json_errsave_error(error, lex, NULL)
#else
#define rc_json_raise(error, lex)	json_ereport_error(error, lex)
#endif

/* 17: the lexer can be given; NULL allocates one as before. */
#if PG_VERSION_NUM >= 170000
#define rc_make_json_lexer(json, len, encoding) \
	makeJsonLexContextCstringLen(NULL, json, len, encoding, true)
#else
#define rc_make_json_lexer(json, len, encoding) \
	makeJsonLexContextCstringLen(unconstify(char *, json), len, encoding, true)
#endif

/* 16: object_aclcheck() replaces the functions for each kind of object. */
#if PG_VERSION_NUM >= 160000
#define rc_type_aclcheck(type, role) \
	object_aclcheck(TypeRelationId, type, role, ACL_USAGE)
#else
#define rc_type_aclcheck(type, role)	pg_type_aclcheck(type, role, ACL_USAGE)
#endif

/*
 * 16: a membership has options of its own: SET (the member may SET ROLE to
 * the role) and INHERIT (it has the role's privileges without that).
 */
#if PG_VERSION_NUM >= 160000
#define rc_may_make_owner(member, role)	member_can_set_role(member, role)
#define rc_may_act_for(member, role)	member_can_set_role(member, role)
#else
#define rc_may_make_owner(member, role)	is_member_of_role(member, role)
#define rc_may_act_for(member, role)	has_privs_of_role(member, role)
#endif

/* 17: an extension's wait events have names. */
#if PG_VERSION_NUM >= 170000
#define rc_wait_event_new(name)	WaitEventExtensionNew(name)
#else
#define rc_wait_event_new(name)	((void) (name), (uint32) PG_WAIT_EXTENSION)
#endif

/* 18: ExecutorRun() lost its argument execute_once. */
#if PG_VERSION_NUM >= 180000
#define rc_executor_run(query)	ExecutorRun(query, ForwardScanDirection, 0)
#else
#define rc_executor_run(query)	ExecutorRun(query, ForwardScanDirection, 0, true)
#endif

/* 16: a partition's conversion map is made at its first use. */
#if PG_VERSION_NUM >= 160000
#define rc_root_to_child_map(table, estate) \
	ExecGetRootToChildMap(table, estate)
#else
#define rc_root_to_child_map(table, estate)	((table)->ri_RootToPartitionMap)
#endif

/* 16: ExecInsertIndexTuples() can leave out all but summaries. */
#if PG_VERSION_NUM >= 160000
#define rc_insert_index_tuples(table, slot, estate) \
	ExecInsertIndexTuples(table, slot, estate, false, false, NULL, NIL, false)
#else
#define rc_insert_index_tuples(table, slot, estate) \
	ExecInsertIndexTuples(table, slot, estate, false, false, NULL, NIL)
#endif

/* 18: index_beginscan() can count searches. */
#if PG_VERSION_NUM >= 180000
#define rc_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#else
#define rc_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan(table, index, snapshot, nkeys, 0)
#endif

/* 18: pg_noreturn is written in front of the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn				pg_attribute_noreturn()
#endif

/* 18: base64 works on unsigned bytes. */
#if PG_VERSION_NUM >= 180000
#define RC_BASE64_BYTE			uint8
#else
#define RC_BASE64_BYTE			char
#endif

/* glibc: what malloc() returns to the system; see mallopt(3). */
#ifdef __GLIBC__
#include <malloc.h>
#define rc_tune_malloc(mapped_from, kept) \
	((void) mallopt(M_MMAP_THRESHOLD, mapped_from), \
	 (void) mallopt(M_TRIM_THRESHOLD, kept))
#define rc_trim_malloc()		((void) malloc_trim(0))
#else
#define rc_tune_malloc(mapped_from, kept)	((void) 0)
#define rc_trim_malloc()		((void) 0)
#endif

#endif							/* RC_COMPAT_H */
