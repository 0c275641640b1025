/*-------------------------------------------------------------------------
 *
 * config_file.c
 *	  The reader of the two configuration files, which hold what is secret.
 *
 * Only the server's user may be able to read one, under the rule of the
 * server's own ssl_key_file.  No error may show a key or a value.
 *
 *-------------------------------------------------------------------------
 */
#include "config_file.h"

#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

static List *read_config_lines(FILE *file, const char *setting);
static void check_config_file(const char *setting, int fd);
static RcConfigLine *parse_config_line(char *text, int number,
									   const char *setting);

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

	text = rc_trim(text);
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
	line->key = pstrdup(rc_trim(text));
	line->value = pstrdup(rc_trim(equals + 1));
	line->line = number;
	return line;
}

/* Cut white space off both ends, in place. */
char *
rc_trim(char *text)
{
	size_t		len;

	while (isspace((unsigned char) *text))
		text++;
	len = strlen(text);
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		text[--len] = '\0';
	return text;
}
