/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Defines all settings of the extension.
 *
 * No setting may hold a secret: in a session that has not loaded the library
 * a setting is a placeholder, which every role can SHOW.  Secrets belong in
 * files; see config_file.c.
 *
 *-------------------------------------------------------------------------
 */
#include "config_file.h"
#include "rappel_conso.h"

#include "utils/guc.h"

char	   *rc_databases = NULL;
char	   *rc_kafka_brokers = NULL;
char	   *rc_kafka_config_file = NULL;
char	   *rc_http_config_file = NULL;
int			rc_http_timeout = 30;
char	   *rc_user_agent = NULL;
int			rc_keep_history = 30;
int			rc_workers_per_owner = 0;
int			rc_fast_paths = 0;

/* By rc_fast_paths; its bits are those of RC_FAST_ROWS and so on. */
static const char *const fast_paths[] = {
	"rows", "scalars", "jsonb", "inserts", "scans", "grants", "outbox", "new", "fields"
};

/* The setting as a text, of which rc_fast_paths is what it says. */
static char *fast_path_list = NULL;

/* Set at the end of rc_settings_define(); see check_brokers(). */
static bool defined = false;

static void define_string(const char *name, const char *description,
						  const char *detail, char **variable, int flags);
static bool check_brokers(char **newval, void **extra, GucSource source);
static bool check_fast_paths(char **newval, void **extra, GucSource source);
static void assign_fast_paths(const char *newval, void *extra);
static int	fast_path_bits(const char *list);

/*
 * Define all settings.  Called from _PG_init(), which runs in each backend if
 * the library is not preloaded, so none can be PGC_POSTMASTER.
 */
void
rc_settings_define(void)
{
	define_string("rappel_conso.databases",
				  "Lists the databases whose workers start with the server.",
				  "Needs rappel_conso in shared_preload_libraries.",
				  &rc_databases, GUC_LIST_INPUT);
	DefineCustomStringVariable("rappel_conso.kafka_brokers",
							   "Sets the bootstrap servers of the Kafka cluster, as host:port, separated by commas.",
							   "Empty means direct mode: a source applies its records to its stream without Kafka.",
							   &rc_kafka_brokers, "", PGC_SIGHUP, 0,
							   check_brokers, NULL, NULL);
	define_string("rappel_conso.kafka_config_file",
				  "Names a file of librdkafka properties, secrets included.",
				  NULL, &rc_kafka_config_file, GUC_SUPERUSER_ONLY);
	define_string("rappel_conso.http_config_file",
				  "Names a file with the API key, proxy and CA file for HTTP.",
				  NULL, &rc_http_config_file, GUC_SUPERUSER_ONLY);
	define_string("rappel_conso.user_agent",
				  "Sets the User-Agent of HTTP requests.",
				  "Empty means the extension's name and version.",
				  &rc_user_agent, 0);

	DefineCustomIntVariable("rappel_conso.http_timeout",
							"Sets the time to wait for an HTTP connection or the next byte of an answer.",
							NULL, &rc_http_timeout, 30, 1, 3600, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("rappel_conso.keep_history",
							"Sets the number of days that finished runs and resolved dead letters are kept.",
							NULL, &rc_keep_history, 30, 0, 36500, PGC_SIGHUP,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("rappel_conso.workers_per_owner",
							"Sets the number of workers that one role can have in a database, for streams and runs together.",
							"0 means half of max_worker_processes.  Superusers have no limit.",
							&rc_workers_per_owner, 0, 0, 10000, PGC_SIGHUP,
							0, NULL, NULL, NULL);

	/* for comparing them with the server's functions */
	DefineCustomStringVariable("rappel_conso.fast_paths",
							   "Lists the own ways from JSON text to rows, and to and from the outbox, that are used.",
							   "Whatever is not listed is done by the server's own functions, with the same result.",
							   &fast_path_list, "rows, scalars, jsonb, inserts, scans, grants, outbox, new, fields",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT | GUC_NOT_IN_SAMPLE |
							   GUC_SUPERUSER_ONLY,
							   check_fast_paths, assign_fast_paths, NULL);

	MarkGUCPrefixReserved(RC_NAME);
	defined = true;
}

/*
 * Reject a malformed list of brokers, but not while the library is loaded:
 * the server would replace a rejected value of postgresql.conf by the
 * default, and an empty list means direct mode.  Then rc_config_build()
 * raises the error when a client is opened.
 */
static bool
check_brokers(char **newval, void **extra, GucSource source)
{
	char	   *wrong = defined ? rc_wrong_broker(*newval) : NULL;

	if (wrong == NULL)
		return true;
	GUC_check_errdetail("\"%s\" is neither a host nor a host and port.", wrong);
	GUC_check_errhint("%s", RC_BROKERS_HINT);
	return false;
}

/*
 * The first malformed entry of a list of brokers, palloc'd; NULL if the list
 * is empty or well formed.  An entry may begin with a protocol, such as
 * "SSL://".  Empty entries are skipped, but a list of nothing else is
 * malformed.
 */
char *
rc_wrong_broker(const char *brokers)
{
	char	   *list = pstrdup(brokers != NULL ? brokers : "");
	char	   *save = NULL;
	bool		found = list[0] == '\0';

	for (char *item = strtok_r(list, ",", &save); item != NULL;
		 item = strtok_r(NULL, ",", &save))
	{
		char	   *host = rc_trim(item);
		char	   *slashes = strstr(host, "://");

		if (*host == '\0')
			continue;
		found = true;
		if (slashes != NULL)
			host = slashes + 3;
		if (!rc_is_host(host, strlen(host)))
			return item;
	}
	return found ? NULL : pstrdup(brokers);
}

static bool
check_fast_paths(char **newval, void **extra, GucSource source)
{
	if (fast_path_bits(*newval) >= 0)
		return true;
	GUC_check_errdetail("The list may contain \"rows\", \"scalars\", \"jsonb\", \"inserts\", \"scans\", \"grants\", \"outbox\", \"new\" and \"fields\".");
	return false;
}

static void
assign_fast_paths(const char *newval, void *extra)
{
	rc_fast_paths = Max(0, fast_path_bits(newval));
}

/* The bits of a list of fast paths; -1 if it has another name. */
static int
fast_path_bits(const char *list)
{
	const char *separators = ", ";
	int			bits = 0;

	for (const char *at = list + strspn(list, separators); *at != '\0';
		 at += strspn(at, separators))
	{
		size_t		len = strcspn(at, separators);
		int			i = 0;

		while (i < lengthof(fast_paths) && (strlen(fast_paths[i]) != len ||
											memcmp(fast_paths[i], at, len) != 0))
			i++;
		if (i == lengthof(fast_paths))
			return -1;
		bits |= 1 << i;
		at += len;
	}
	return bits;
}

static void
define_string(const char *name, const char *description, const char *detail,
			  char **variable, int flags)
{
	DefineCustomStringVariable(name, description, detail, variable, "",
							   PGC_SIGHUP, flags, NULL, NULL, NULL);
}
