/*-------------------------------------------------------------------------
 *
 * transform.h
 *	  Converting a line of a source to a record, and the interface that a
 *	  transform has to provide.
 *
 * All text is UTF-8, whatever the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_TRANSFORM_H
#define RC_TRANSFORM_H

#include "record.h"
#include "transform/json_line.h"

typedef struct RcTransform RcTransform;

typedef struct RcTransformOptions
{
	const RcTransform *transform;
	bool		fold_accents;
	const char *key_field;		/* NULL: records have no key */
	const char *cursor_field;	/* NULL: there is no cursor */
	bool		pack;			/* values are wanted as fields */
} RcTransformOptions;

/* Memory that is used again for each line; see rc_transform_work(). */
typedef struct RcTransformWork
{
	RcJsonMembers members;		/* of the line */
	RcJsonMembers elements;		/* of an array in it */
	StringInfoData plain;		/* a text without its escapes */
	StringInfoData text;		/* of a column */
	StringInfoData identification;	/* of a recall */
	StringInfoData value;		/* being written */
} RcTransformWork;

typedef struct RcTransformed
{
	char	   *value;			/* JSON text of one object, or fields */
	int			value_len;
	const char *(*field_name) (int field);	/* as in RcRecord */
	char	   *key;			/* NULL only without a key_field */
	char	   *cursor;			/* text of the cursor field; NULL if null */
	char	   *version;		/* sorts as versions do; NULL: not known */
	bool		object;			/* a line without a record is a JSON object */
} RcTransformed;

/*
 * Receives the fields of a record, in their order.  "name" is that of a
 * column, without a quote or backslash.  "bytes" is a text, a time in ISO
 * 8601, or a number or any other JSON as it is in the line; unused for a
 * missing field.
 */
typedef struct RcFieldSink RcFieldSink;

struct RcFieldSink
{
	void		(*field) (RcFieldSink *sink, const char *name,
						  RcFieldKind kind, const char *bytes, size_t len);
};

/*
 * A transform.  To add one, add it to the table in transform.c and its name
 * to source_check() in the install script.
 */
struct RcTransform
{
	const char *name;

	/* names of the fields that it writes, in their order */
	const char *(*field_name) (int field);

	/* normalizes a key in place; NULL: a key is used unchanged */
	void		(*key) (char *key);

	/*
	 * Writes the fields of a record to the sink, and sets key and version of
	 * *out. work->members are those of the line, which is one JSON object.
	 * Returns NULL, or why the line cannot become a record (palloc'd or
	 * static).  A transform that uses the line as the value has none.
	 */
	const char *(*convert) (const RcTransformOptions *options,
							RcTransformWork *work, RcFieldSink *sink,
							RcTransformed *out);
};

extern const RcTransform *rc_transform_find(const char *name);
extern RcTransformWork *rc_transform_work(MemoryContext context);
extern const char *rc_transform(const char *line, size_t len,
								const RcTransformOptions *options,
								RcTransformWork *work, RcTransformed *out);
extern const char *rc_transform_key(const RcJsonMembers *members,
									const char *field, char **key);

#endif							/* RC_TRANSFORM_H */
