/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Every setting of the extension, and the reader of its two
 *	  configuration files.
 *
 * No setting may hold a secret: where the library is not preloaded, anybody
 * can SHOW a placeholder.  Secrets stand in files that only the server's user
 * can read, under the rule of the server's own ssl_key_file.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/guc.h"

char	   *rc_databases = NULL;
char	   *rc_kafka_brokers = NULL;
char	   *rc_kafka_config_file = NULL;
char	   *rc_http_config_file = NULL;
int			rc_http_timeout = 30;
char	   *rc_user_agent = NULL;
int			rc_keep_history = 30;
int			rc_workers_per_owner = 0;

/* Whether all settings are there. */
static bool defined = false;

static void define_string(const char *name, const char *description,
						  const char *detail, char **variable, int flags);
static bool check_brokers(char **newval, void **extra, GucSource source);
static List *read_config_lines(FILE *file, const char *setting);
static void check_config_file(const char *setting, int fd);
static RcConfigLine *parse_config_line(char *text, int number,
									   const char *setting);
static char *trim(char *text);

/*
 * Define all settings.  Called from _PG_init, in the postmaster when the
 * library is preloaded, else in each backend; so none may be PGC_POSTMASTER.
 */
void
rc_settings_define(void)
{
	define_string("rappel_conso.databases",
				  "Lists the databases in which workers start with the server.",
				  "Needs rappel_conso in shared_preload_libraries.",
				  &rc_databases, GUC_LIST_INPUT);
	DefineCustomStringVariable("rappel_conso.kafka_brokers",
							   "Sets the bootstrap list of the Kafka cluster, as host:port,...",
							   "Empty means direct mode: sources feed their streams without Kafka.",
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
							"Sets how long a connection or a byte of an HTTP answer is waited for.",
							NULL, &rc_http_timeout, 30, 1, 3600, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("rappel_conso.keep_history",
							"Sets for how many days ended runs and resolved dead letters are kept.",
							NULL, &rc_keep_history, 30, 0, 36500, PGC_SIGHUP,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("rappel_conso.workers_per_owner",
							"Sets how many workers one role may have in a database, streams and runs together.",
							"0 means half of max_worker_processes.  Superusers have no limit.",
							&rc_workers_per_owner, 0, 0, 10000, PGC_SIGHUP,
							0, NULL, NULL, NULL);

	MarkGUCPrefixReserved(RC_NAME);
	defined = true;
}

/*
 * A wrong list is refused where one is set.  What was in the configuration
 * when the library is loaded is taken: in its place the server would take the
 * default, which is another mode.  Then whoever connects says what is wrong.
 */
static bool
check_brokers(char **newval, void **extra, GucSource source)
{
	char	   *wrong = defined ? rc_wrong_broker(*newval) : NULL;

	if (wrong == NULL)
		return true;
	GUC_check_errdetail("\"%s\" is not a host, or host and port.", wrong);
	GUC_check_errhint("%s", RC_BROKERS_HINT);
	return false;
}

/*
 * What is no broker in a list of them: palloc'd, NULL if there is nothing.  An
 * entry may begin with a protocol, such as "SSL://"; white space and empty
 * entries do not count, but there must be one.
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
		char	   *host = trim(item);
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

static void
define_string(const char *name, const char *description, const char *detail,
			  char **variable, int flags)
{
	DefineCustomStringVariable(name, description, detail, variable, "",
							   PGC_SIGHUP, flags, NULL, NULL, NULL);
}

/*
 * Read the configuration file "path", named by the setting "setting".
 *
 * Lines are "key = value"; empty lines and those that begin with '#' are
 * skipped.  Returns a List of RcConfigLine, palloc'd in the current context.
 * Raises ERRCODE_CONFIG_FILE_ERROR when the file is missing, open to others
 * or has a line of another form.  The error may reach whoever owns a stream or
 * a source: it names the setting, which superusers may read; neither the path
 * nor a key, and never a value.
 */
List *
rc_config_file_read(const char *path, const char *setting)
{
	List	   *volatile lines = NIL;
	FILE	   *file;

	file = AllocateFile(path, "r");
	if (file == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not open the file that \"%s\" names: %m",
						setting),
				 errdetail_log("The file is \"%s\".", path)));
	PG_TRY();
	{
		check_config_file(setting, fileno(file));
		lines = read_config_lines(file, setting);
	}
	PG_FINALLY();
	{
		FreeFile(file);
	}
	PG_END_TRY();
	return lines;
}

/* All lines of an open file. */
static List *
read_config_lines(FILE *file, const char *setting)
{
	List	   *lines = NIL;
	char		buffer[4096];
	int			number = 0;

	while (fgets(buffer, sizeof(buffer), file) != NULL)
	{
		RcConfigLine *line;

		number++;
		if (strchr(buffer, '\n') == NULL && !feof(file))
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("line %d of the file that \"%s\" names is too long",
							number, setting)));
		line = parse_config_line(buffer, number, setting);
		if (line != NULL)
			lines = lappend(lines, line);
	}
	if (ferror(file))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the file that \"%s\" names: %m",
						setting)));
	return lines;
}

/*
 * Refuse a file that somebody else could read or write: the rule of
 * ssl_key_file (src/backend/libpq/be-secure-common.c).
 */
static void
check_config_file(const char *setting, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat the file that \"%s\" names: %m",
						setting)));
	if (!S_ISREG(st.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("what \"%s\" names is not a regular file", setting)));
	if (st.st_uid != geteuid() && st.st_uid != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the file that \"%s\" names must be owned by the database user or root",
						setting)));
	if ((st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO))) ||
		(st.st_uid == 0 && (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO))))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the file that \"%s\" names has group or world access",
						setting),
				 errdetail("File must have permissions u=rw (0600) or less if owned by the database user, or permissions u=rw,g=r (0640) or less if owned by root.")));
}

/* One line to a key and a value, or NULL for a comment. */
static RcConfigLine *
parse_config_line(char *text, int number, const char *setting)
{
	RcConfigLine *line;
	char	   *equals;

	text = trim(text);
	if (*text == '\0' || *text == '#')
		return NULL;
	equals = strchr(text, '=');
	if (equals == NULL || equals == text)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("line %d of the file that \"%s\" names is not of the form key = value",
						number, setting)));
	*equals = '\0';

	line = palloc0(sizeof(RcConfigLine));
	line->key = pstrdup(trim(text));
	line->value = pstrdup(trim(equals + 1));
	line->line = number;
	return line;
}

/* Cut white space off both ends, in place. */
static char *
trim(char *text)
{
	size_t		len;

	while (isspace((unsigned char) *text))
		text++;
	len = strlen(text);
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		text[--len] = '\0';
	return text;
}
