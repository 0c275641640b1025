/*-------------------------------------------------------------------------
 *
 * stream_check.c
 *	  Checks a stream when it is stored: the values of the row, and the
 *	  statement as its owner (statement_check.c).  Also checks topics of
 *	  streams and sources.
 *
 * Nothing is executed here.  A row that arrives with search_path set is being
 * restored: its statement is not planned, since the objects that it names may
 * not exist yet; the worker checks it.  The same holds for a missing table
 * that the stream's setup may create.
 *
 *-------------------------------------------------------------------------
 */
#include "store/stream_check.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "store/owner_check.h"
#include "store/start_position.h"
#include "store/statement_check.h"
#include "store/stream_table.h"
#include "store/topic_grant.h"
#include "store/trigger_call.h"
#include "store/value_format.h"

PG_FUNCTION_INFO_V1(rc_stream_check);
PG_FUNCTION_INFO_V1(rc_source_topic_check);

/* The longest name of a consumer group, as stream_group_id_check has it. */
#define GROUP_MAX	249

/* A row of rappel_conso.stream, accessed by column name. */
typedef struct Row
{
	HeapTuple	tuple;
	TupleDesc	desc;
} Row;

/*
 * Columns whose change requires a check of grants, or planning the statement.
 */
static const char *const granted[] = {"topics", "output_topic", "owner"};
static const char *const planned[] = {
	"statement", "value_type", "key_type", "envelope", "decimal", "numeric_time",
	"output_topic", "owner", "setup", "search_path"
};

static char *row_text(const Row *row, const char *column);
static Oid	row_oid(const Row *row, const char *column);
static void row_set(Row *row, const char *column, Datum value);
static bool changed(const Row *old, const Row *new, const char *column);
static bool any_changed(const Row *old, const Row *new,
						const char *const *columns, int n);
static Oid	row_owner(const Row *row);
static void check_conversions(const Row *row, const char *name);
static void check_topics(const Row *row, const char *name);
static void check_row_grants(const Row *row, const char *name);
static void settle_start(Row *row, const char *name);
static void check_group(const char *group, const char *column,
						const char *name);
static bool has_control(const char *text);
static void settle_search_path(Row *row);
static void settle_type(Row *row, const char *name, bool copied,
						bool restored);
static bool type_exists(Oid type);
static bool refuse_type(Oid type, const char *name, int elevel);
static void check_statement(const Row *row, const char *name,
							const char *search_path);

/* Trigger function: BEFORE INSERT OR UPDATE ON rappel_conso.stream. */
Datum
rc_stream_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true,
										RC_ON_INSERT | RC_ON_UPDATE, 0,
										" stream ");
	bool		update;
	Row			new;
	Row			old;
	char	   *name;
	bool		restored;

	update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	new.tuple = rc_trigger_row(data);
	old.tuple = data->tg_trigtuple;
	new.desc = old.desc = RelationGetDescr(data->tg_relation);
	name = row_text(&new, "name");
	restored = rc_is_restore(data->tg_relation) ||
		(!update && row_text(&new, "search_path") != NULL);
	if (!update || changed(&old, &new, "start_at"))
		settle_start(&new, name);
	if ((!update || changed(&old, &new, "group_id")) &&
		row_text(&new, "group_id") != NULL)
		check_group(row_text(&new, "group_id"), "group_id", name);
	if (!update || changed(&old, &new, "value_type"))
		settle_type(&new, name, rc_is_restore(data->tg_relation),
					restored || (update && !type_exists(row_oid(&old, "value_type"))));
	check_topics(&new, name);
	if (restored)
		return PointerGetDatum(new.tuple);
	if (!update || any_changed(&old, &new, granted, lengthof(granted)))
		check_row_grants(&new, name);
	if (!update || any_changed(&old, &new, planned, lengthof(planned)))
	{
		settle_search_path(&new);
		check_conversions(&new, name);
		check_statement(&new, name, row_text(&new, "search_path"));
	}
	return PointerGetDatum(new.tuple);
}

/* A column as text; NULL for null. */
static char *
row_text(const Row *row, const char *column)
{
	return SPI_getvalue(row->tuple, row->desc,
						SPI_fnumber(row->desc, column));
}

static Oid
row_oid(const Row *row, const char *column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc,
									  SPI_fnumber(row->desc, column), &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

static void
row_set(Row *row, const char *column, Datum value)
{
	int			number = SPI_fnumber(row->desc, column);
	bool		isnull = false;

	row->tuple = heap_modify_tuple_by_cols(row->tuple, row->desc, 1, &number,
										   &value, &isnull);
}

static bool
changed(const Row *old, const Row *new, const char *column)
{
	char	   *a = row_text(old, column);
	char	   *b = row_text(new, column);

	if (a == NULL || b == NULL)
		return a != b;
	return strcmp(a, b) != 0;
}

static bool
any_changed(const Row *old, const Row *new, const char *const *columns, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (changed(old, new, columns[i]))
			return true;
	}
	return false;
}

/*
 * The role named as owner, if the caller may name it. rc_role_check() has
 * checked that too, but it accepts rows of a dump, and what runs as this role
 * must not depend on the order of triggers.
 */
static Oid
row_owner(const Row *row)
{
	char	   *name = row_text(row, "owner");
	Oid			role = InvalidOid;

	if (name != NULL)
		role = get_role_oid(name, false);
	if (!OidIsValid(role) || !rc_may_make_owner(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for role \"%s\"",
						name ? name : "")));
	return role;
}

/*
 * Columns of a row type are what decimal and numeric_time are about: for any
 * other type they would say nothing.
 */
static void
check_conversions(const Row *row, const char *name)
{
	static const char *const columns[] = {"decimal", "numeric_time"};
	Oid			type = row_oid(row, "value_type");

	for (int i = 0; i < lengthof(columns) && OidIsValid(type); i++)
	{
		if (row_text(row, columns[i]) != NULL &&
			get_typtype(type) != TYPTYPE_COMPOSITE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s of stream \"%s\" cannot be set: its value_type is %s",
							columns[i], name, format_type_be(type)),
					 errhint("Set value_type to a table or composite type, or %s to null.",
							 columns[i])));
	}
}

static void
check_topics(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc,
									  SPI_fnumber(row->desc, "topics"),
									  &isnull);
	Datum	   *topics;
	bool	   *nulls;
	int			n;
	char	   *output = row_text(row, "output_topic");

	if (isnull)
		return;					/* a constraint of the table reports it */
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &topics, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" has no topics", name)));
	for (int i = 0; i < n; i++)
		rc_check_topic(nulls[i] ? "" : TextDatumGetCString(topics[i]),
					   psprintf("stream \"%s\"", name));
	for (int i = 0; i < n && output != NULL; i++)
	{
		if (strcmp(TextDatumGetCString(topics[i]), output) == 0)
			ereport(WARNING,
					(errmsg("stream \"%s\" reads topic \"%s\", which it also writes to",
							name, output),
					 errdetail("It will read its own output, endlessly unless its statement filters some of it."),
					 errhint("Use another output_topic, or filter the stream's own output in its statement.")));
	}
	if (output != NULL)
		rc_check_topic(output, psprintf("stream \"%s\"", name));
}

/*
 * Trigger function: BEFORE INSERT OR UPDATE OF topic, owner ON
 * rappel_conso.source.  Not checked in direct mode, where nothing is
 * published, and for superusers, who may add the grant later.  Each run checks
 * again.
 */
Datum
rc_source_topic_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true,
										RC_ON_INSERT | RC_ON_UPDATE, 0,
										" source ");
	Row			row;
	char	   *topic;

	row.tuple = rc_trigger_row(data);
	row.desc = RelationGetDescr(data->tg_relation);
	topic = row_text(&row, "topic");
	if (topic != NULL && rc_kafka_brokers[0] != '\0' && !superuser())
		rc_check_source_grant(row_owner(&row), row_text(&row, "owner"), topic,
							  row_text(&row, "name"));
	return PointerGetDatum(row.tuple);
}

static void
check_row_grants(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc,
									  SPI_fnumber(row->desc, "topics"),
									  &isnull);
	Datum	   *topics;
	int			n;
	List	   *list = NIL;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &topics, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(topics[i]));
	rc_check_grants(row_owner(row), row_text(row, "owner"), list,
					row_text(row, "output_topic"), name);
}

/*
 * Check a topic's name by Kafka's own rule
 * (org.apache.kafka.common.internals.Topic).  "name" says for the message
 * which object the topic belongs to.
 */
void
rc_check_topic(const char *topic, const char *name)
{
	size_t		len = strlen(topic);

	if (len == 0 || len > 249 || strcmp(topic, ".") == 0 ||
		strcmp(topic, "..") == 0 ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("topic of %s is not a valid Kafka topic name: \"%s\"",
						name, topic),
				 errhint("Use up to 249 letters, digits, dots, underscores and hyphens.")));
}

/* Store start_at in a form that does not depend on settings. */
static void
settle_start(Row *row, const char *name)
{
	char	   *start = row_text(row, "start_at");

	if (start == NULL)
		return;
	if (rc_start_group(start) != NULL)
	{
		check_group(rc_start_group(start), "start_at", name);
		return;
	}
	start = rc_start_position(start, name, "Use earliest, latest, a timestamp or group:NAME.");
	row_set(row, "start_at", CStringGetTextDatum(start));
}

/*
 * A stream may use a consumer group only if a superuser says so: the Kafka user
 * of the server may see and commit to groups of others.  Names of groups are
 * not converted, so that of a database in another encoding would mean another
 * group.
 */
static void
check_group(const char *group, const char *column, const char *name)
{
	if (group[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of stream \"%s\" names no consumer group", column, name)));
	if (strlen(group) > GROUP_MAX || has_control(group))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of stream \"%s\" is not a valid name of a consumer group", column, name),
				 errhint("Use up to %d bytes, without control characters.", GROUP_MAX)));
	if (GetDatabaseEncoding() != PG_UTF8 && !pg_is_ascii(group))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s of stream \"%s\" has a character that is not ASCII", column, name),
				 errdetail("The name of a consumer group is UTF-8, and the encoding of this database is %s.",
						   GetDatabaseEncodingName())));
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to use consumer group \"%s\" in stream \"%s\"",
						group, name),
				 errhint("Ask a superuser to set %s.", column)));
}

static bool
has_control(const char *text)
{
	while (*text != '\0' && *text != '\177' && (unsigned char) *text >= ' ')
		text++;
	return *text != '\0';
}

/* Store the caller's search_path with a statement that has none. */
static void
settle_search_path(Row *row)
{
	if (row_text(row, "search_path") == NULL)
		row_set(row, "search_path",
				CStringGetTextDatum(GetConfigOption("search_path", false, false)));
}

/*
 * Check value_type.  A bad row in a dump must not make the COPY of all others
 * fail, so a bad type is an error only if a user stores it.  In a restored row
 * it is set to 0, as when a type is dropped later (type_dropped() in the
 * install script): a dump that had to write an OID instead of a name may mean
 * another type here.
 */
static void
settle_type(Row *row, const char *name, bool copied, bool restored)
{
	Oid			type = row_oid(row, "value_type");

	if (row_text(row, "value_type") == NULL)
		return;					/* a constraint of the table reports it */
	if (restored && !OidIsValid(type))
		return;					/* the worker reports it */
	if (refuse_type(type, name, copied || (restored && !type_exists(type)) ? WARNING : ERROR))
		row_set(row, "value_type", ObjectIdGetDatum(InvalidOid));
}

static bool
type_exists(Oid type)
{
	return SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type));
}

/*
 * Report why a type cannot be a stream's value_type; returns false if it can.
 * A temporary type exists for one session only, and its name cannot be
 * restored.
 */
static bool
refuse_type(Oid type, const char *name, int elevel)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			namespace = InvalidOid;
	bool		composite = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		namespace = form->typnamespace;
		composite = form->typtype == TYPTYPE_COMPOSITE;
		ReleaseSysCache(tuple);
	}
	else if (OidIsValid(type))
	{
		ereport(elevel,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("value_type of stream \"%s\" does not exist: there is no type with OID %u",
						name, type),
				 errhint("Use jsonb, text, bytea, or a table or composite type.")));
		return true;
	}
	if (composite && isAnyTempNamespace(namespace))
		ereport(elevel,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("value_type of stream \"%s\" cannot be the temporary type %s",
						name, format_type_be(type)),
				 errdetail("A temporary type is not visible to the stream's workers and is dropped when the session ends."),
				 errhint("Use jsonb, text, bytea, or a permanent table or composite type.")));
	else if (rc_value_format(type) != NULL)
		return false;
	else
		ereport(elevel,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("value_type of stream \"%s\" cannot be %s", name,
						format_type_extended(type, -1, FORMAT_TYPE_ALLOW_INVALID)),
				 errhint("Use jsonb, text, bytea, or a table or composite type.")));
	return true;
}

/*
 * Plan the statement as its owner, with the search_path that it will run with.
 */
static void
check_statement(const Row *row, const char *name, const char *search_path)
{
	RcStream	stream = {0};
	const RcValueFormat *key;
	Oid			user;
	int			context;
	int			level;

	stream.name = unconstify(char *, name);
	stream.statement = row_text(row, "statement");
	stream.setup = row_text(row, "setup");
	stream.output_topic = row_text(row, "output_topic");
	stream.value_type = row_oid(row, "value_type");
	stream.key_type = row_oid(row, "key_type");
	stream.envelope = row_text(row, "envelope");
	stream.decimal = row_text(row, "decimal");
	stream.numeric_time = row_text(row, "numeric_time");
	key = rc_value_format(stream.key_type);
	if (stream.statement == NULL || key == NULL || key->of_row ||
		stream.envelope == NULL)
		return;					/* a constraint of the table reports it */
	if (!OidIsValid(stream.value_type))
		return;					/* the worker reports it */

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(row_owner(row),
						   context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	rc_statement_check(&stream);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}
