/*-------------------------------------------------------------------------
 *
 * kafka_topic_settings.c
 *	  Settings of topics: those that a topic is created with, and how those of
 *	  an existing topic differ.
 *
 * An existing topic must not be changed: others may depend on it.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

/* 7 days: a consumer that lags less sees every version and tombstone. */
#define COMPACTION_LAG_MS	"604800000"

static const char *value_of(List *settings, const char *name);
static void set_default(rd_kafka_NewTopic_t *new_topic, List *settings,
						const char *name, const char *value);
static rd_kafka_event_t *ask_settings(RcKafka *kafka, const char *topic,
									  int timeout_ms);
static List *compare(const rd_kafka_ConfigResource_t *resource, List *settings);
static const char *actual_value(const rd_kafka_ConfigResource_t *resource,
								const char *name, bool *found);
static bool same_value(const char *a, const char *b);
static char *name_of(const char *setting);

/*
 * Give a new topic its settings: those of the caller, and for others the
 * extension's defaults.  A compacted topic keeps every record for
 * COMPACTION_LAG_MS at least.
 */
void
rc_topic_settings(rd_kafka_NewTopic_t *new_topic, const RcNewTopic *topic)
{
	ListCell   *lc;

	foreach(lc, topic->settings)
	{
		const char *setting = (const char *) lfirst(lc);
		char	   *name = name_of(setting);

		rd_kafka_NewTopic_set_config(new_topic, name,
									 setting + strlen(name) + 1);
	}
	set_default(new_topic, topic->settings, "max.message.bytes",
				CppAsString2(RC_KAFKA_MAX_MESSAGE));
	if (!topic->compacted)
		return;
	set_default(new_topic, topic->settings, "cleanup.policy", "compact");
	set_default(new_topic, topic->settings, "min.compaction.lag.ms",
				COMPACTION_LAG_MS);
	set_default(new_topic, topic->settings, "delete.retention.ms",
				COMPACTION_LAG_MS);
}

/* Kafka rejects a setting that is given twice. */
static void
set_default(rd_kafka_NewTopic_t *new_topic, List *settings, const char *name,
			const char *value)
{
	if (value_of(settings, name) == NULL)
		rd_kafka_NewTopic_set_config(new_topic, name, value);
}

/* The value in a List of name=value; NULL if there is none. */
static const char *
value_of(List *settings, const char *name)
{
	size_t		len = strlen(name);
	ListCell   *lc;

	foreach(lc, settings)
	{
		const char *setting = (const char *) lfirst(lc);

		if (strncmp(setting, name, len) == 0 && setting[len] == '=')
			return setting + len + 1;
	}
	return NULL;
}

/* The name in name=value, palloc'd. */
static char *
name_of(const char *setting)
{
	return pnstrdup(setting, strcspn(setting, "="));
}

/*
 * How a topic differs from these settings (a List of name=value): a List of
 * texts, palloc'd like the list in the current context.  If the broker does not
 * report them, *error says why (palloc'd or static), and the result is NIL; else *error
 * is NULL.  Waits for timeout_ms at most.
 */
List *
rc_kafka_topic_differences(RcKafka *kafka, const char *topic, List *settings,
						   int timeout_ms, const char **error)
{
	rd_kafka_event_t *event = ask_settings(kafka, topic, timeout_ms);
	const rd_kafka_ConfigResource_t **resources;
	rd_kafka_resp_err_t err;
	size_t		n = 0;
	List	   *differences = NIL;

	*error = NULL;
	if (event == NULL)
	{
		*error = rd_kafka_err2str(RD_KAFKA_RESP_ERR__TIMED_OUT);
		return NIL;
	}
	err = rd_kafka_event_error(event);
	resources = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event),
														  &n);
	if (!err && n == 1)
		err = rd_kafka_ConfigResource_error(resources[0]);
	if (err)
		*error = rd_kafka_err2str(err);
	else if (n == 1)
		differences = compare(resources[0], settings);
	rd_kafka_event_destroy(event);
	return differences;
}

/* Ask for the settings of a topic; NULL if no broker responds in time. */
static rd_kafka_event_t *
ask_settings(RcKafka *kafka, const char *topic, int timeout_ms)
{
	void	   *opaque = rc_admin_opaque();
	RcDeadline	deadline;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_ConfigResource_t *resource;

	rc_deadline_start(&deadline, timeout_ms);
	resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	options = rc_admin_options(kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
							   timeout_ms, opaque);
	rd_kafka_DescribeConfigs(kafka->rk, &resource, 1, options, kafka->admin);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_ConfigResource_destroy(resource);
	return rc_admin_wait(kafka, opaque, &deadline);
}

static List *
compare(const rd_kafka_ConfigResource_t *resource, List *settings)
{
	List	   *differences = NIL;
	ListCell   *lc;

	foreach(lc, settings)
	{
		const char *setting = (const char *) lfirst(lc);
		char	   *name = name_of(setting);
		const char *wanted = setting + strlen(name) + 1;
		bool		found;
		const char *actual = actual_value(resource, name, &found);
		char	   *difference;

		if (!found)
			difference = psprintf("The broker knows no setting \"%s\".", name);
		else if (actual != NULL && !same_value(actual, wanted))
			difference = psprintf("\"%s\" is \"%s\", not \"%s\".",
								  name, actual, wanted);
		else
			continue;
		rc_mask_invalid(difference);
		differences = lappend(differences, difference);
	}
	return differences;
}

/* A setting's value; NULL if it is not found, or the broker keeps it secret. */
static const char *
actual_value(const rd_kafka_ConfigResource_t *resource, const char *name,
			 bool *found)
{
	const rd_kafka_ConfigEntry_t **entries;
	size_t		n;

	entries = rd_kafka_ConfigResource_configs(resource, &n);
	for (size_t i = 0; i < n; i++)
	{
		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
		{
			*found = true;
			return rd_kafka_ConfigEntry_value(entries[i]);
		}
	}
	*found = false;
	return NULL;
}

/* Whether two values mean the same: case and spaces do not matter to Kafka. */
static bool
same_value(const char *a, const char *b)
{
	for (;;)
	{
		while (*a == ' ')
			a++;
		while (*b == ' ')
			b++;
		if (pg_ascii_tolower((unsigned char) *a) !=
			pg_ascii_tolower((unsigned char) *b))
			return false;
		if (*a == '\0')
			return true;
		a++;
		b++;
	}
}
