/*-------------------------------------------------------------------------
 *
 * config_file.c
 *	  Reads the two configuration files, which can hold secrets.
 *
 * A file that other users can read is refused, by the rule that the server
 * has for ssl_key_file.  No error may show a key or a value.
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
 *
 * Errors: F0000 if the file is missing, accessible to other users or has a
 * line of another form.  The error can reach the owner of a stream or a
 * source, who need not be a superuser, so it names only the setting: the path
 * and the key go to the server log, and a value goes nowhere.
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
				 errdetail_log("The file is \"%s\".", path),
				 errhint("See the server log for its path; the operating-system user of the server must be able to read it.")));
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
 * Refuse a file that another user can read or write: the rule of ssl_key_file
 * (src/backend/libpq/be-secure-common.c).
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
				 errmsg("the file that \"%s\" names is not a regular file", setting)));
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
				 errdetail("File must have permissions u=rw (0600) or less if owned by the database user, or permissions u=rw,g=r (0640) or less if owned by root."),
				 errhint("Set its permissions with chmod 0600.")));
}

/*
 * Split a line, in place, at its first "="; NULL for an empty line or a
 * comment.
 */
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
				 errmsg("syntax error in line %d of the file that \"%s\" names: expected key = value",
						number, setting)));
	*equals = '\0';

	line = palloc0(sizeof(RcConfigLine));
	line->key = pstrdup(rc_trim(text));
	line->value = pstrdup(rc_trim(equals + 1));
	line->line = number;
	return line;
}

/* Strip white space from both ends, in place; the result points into text. */
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
