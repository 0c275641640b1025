/*-------------------------------------------------------------------------
 *
 * kafka_files.c
 *	  Remembers the settings and files that a client was opened with, and
 *	  detects that they have changed.
 *
 * librdkafka reads passwords, keys and certificates once, when a client is
 * opened, so after one has been renewed a new client is needed.  Files are
 * not read here, only their identity and times are compared.  It must not
 * raise an error: a file that has been removed is a change like another.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include <sys/stat.h>

#if defined(__APPLE__)
#define st_mtim st_mtimespec
#define st_ctim st_ctimespec
#endif

/* The identity of a file; of one that has been replaced it differs. */
typedef struct FileMark
{
	bool		there;
	dev_t		device;
	ino_t		inode;
	off_t		size;
	struct timespec modified;
	struct timespec changed;
} FileMark;

typedef struct MarkedFile
{
	char	   *path;
	FileMark	mark;
} MarkedFile;

struct RcFiles
{
	MemoryContext context;
	char	   *brokers;
	char	   *config_file;
	List	   *files;			/* of MarkedFile */
};

static FileMark mark_of(const char *path);
static bool same_mark(const FileMark *a, const FileMark *b);

/*
 * Store the current settings, before a file is read: a change during the
 * reading is then detected.  The result is allocated in the context.
 */
RcFiles *
rc_files_note(MemoryContext context)
{
	RcFiles    *files = MemoryContextAllocZero(context, sizeof(RcFiles));

	files->context = context;
	files->brokers = MemoryContextStrdup(context, rc_kafka_brokers);
	files->config_file = MemoryContextStrdup(context, rc_kafka_config_file);
	if (files->config_file[0] != '\0')
		rc_files_add(files, files->config_file);
	return files;
}

/*
 * Add a file or directory that librdkafka is going to read.
 */
void
rc_files_add(RcFiles *files, const char *path)
{
	MemoryContext old = MemoryContextSwitchTo(files->context);
	MarkedFile *file = palloc(sizeof(MarkedFile));

	file->path = pstrdup(path);
	file->mark = mark_of(path);
	files->files = lappend(files->files, file);
	MemoryContextSwitchTo(old);
}

/*
 * Have the settings or files changed since the client was opened?
 */
bool
rc_files_changed(const RcFiles *files)
{
	ListCell   *lc;

	if (strcmp(files->brokers, rc_kafka_brokers) != 0 ||
		strcmp(files->config_file, rc_kafka_config_file) != 0)
		return true;
	foreach(lc, files->files)
	{
		MarkedFile *file = (MarkedFile *) lfirst(lc);
		FileMark	now = mark_of(file->path);

		if (!same_mark(&file->mark, &now))
			return true;
	}
	return false;
}

static FileMark
mark_of(const char *path)
{
	FileMark	mark = {0};
	struct stat st;

	if (stat(path, &st) != 0)
		return mark;
	mark.there = true;
	mark.device = st.st_dev;
	mark.inode = st.st_ino;
	mark.size = st.st_size;
	mark.modified = st.st_mtim;
	mark.changed = st.st_ctim;
	return mark;
}

static bool
same_mark(const FileMark *a, const FileMark *b)
{
	return a->there == b->there && a->device == b->device &&
		a->inode == b->inode && a->size == b->size &&
		a->modified.tv_sec == b->modified.tv_sec &&
		a->modified.tv_nsec == b->modified.tv_nsec &&
		a->changed.tv_sec == b->changed.tv_sec &&
		a->changed.tv_nsec == b->changed.tv_nsec;
}
