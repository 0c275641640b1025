/*-------------------------------------------------------------------------
 *
 * trigger_call.c
 *	  Checks what a trigger function of the extension was called for.
 *
 * A role that may execute a trigger function can create a trigger with it on a
 * table of its own, for any command and without the arguments that the
 * function needs.  Such a row must not be read, or acted upon.
 *
 *-------------------------------------------------------------------------
 */
#include "store/trigger_call.h"

#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool fires_for(TriggerEvent event, int commands);
static bool is_one_of(const char *name, const char *tables);

/*
 * The trigger data.  Raises ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED unless
 * the trigger is for rows ("row") or statements, for one of these commands,
 * with at least "nargs" arguments, on a table of the extension's schema whose
 * name is in "tables", with a space before and after each.
 */
TriggerData *
rc_trigger_call(FunctionCallInfo fcinfo, bool row, int commands, int nargs,
				const char *tables)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	char	   *schema;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by a trigger",
						get_func_name(fcinfo->flinfo->fn_oid))));
	schema = get_namespace_name(RelationGetNamespace(data->tg_relation));
	if ((TRIGGER_FIRED_FOR_ROW(data->tg_event) != 0) != row ||
		!fires_for(data->tg_event, commands) ||
		data->tg_trigger->tgnargs < nargs ||
		schema == NULL || strcmp(schema, RC_SCHEMA) != 0 ||
		!is_one_of(RelationGetRelationName(data->tg_relation), tables))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" of table \"%s\" cannot execute function \"%s\"",
						data->tg_trigger->tgname,
						RelationGetRelationName(data->tg_relation),
						get_func_name(fcinfo->flinfo->fn_oid)),
				 errdetail("Only the extension's own triggers can use the function."),
				 errhint("Drop the trigger.")));
	return data;
}

static bool
fires_for(TriggerEvent event, int commands)
{
	if (commands == RC_ON_ANY)
		return true;
	return (TRIGGER_FIRED_BY_INSERT(event) && (commands & RC_ON_INSERT)) ||
		(TRIGGER_FIRED_BY_UPDATE(event) && (commands & RC_ON_UPDATE)) ||
		(TRIGGER_FIRED_BY_DELETE(event) && (commands & RC_ON_DELETE));
}

static bool
is_one_of(const char *name, const char *tables)
{
	return strstr(tables, psprintf(" %s ", name)) != NULL;
}

/* The row to be stored, or deleted. */
HeapTuple
rc_trigger_row(TriggerData *data)
{
	return TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple :
		data->tg_trigtuple;
}
