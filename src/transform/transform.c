/*-------------------------------------------------------------------------
 *
 * transform.c
 *	  Converts a line of a source to a record: its value, key and cursor.
 *
 * Measured with 20,000 recalls in direct mode, as against a tree of cJSON,
 * medians of two pairs on a busy machine: from 106 to 75 us of CPU for each,
 * from 0.24 to 0.28 of the speed of COPY.
 *
 * An invalid line must not end the run, so no error may be raised for the
 * content of a line: the problem is returned as text, for the source's dead
 * letters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "transform/json_sink.h"
#include "transform/recall.h"

/* Memory that each text keeps for the next line. */
#define KEPT_BYTES		(64 * 1024)

/* The values of column "transform" of rappel_conso.source. */
static const RcTransform transforms[] = {
	{.name = "none"},
	{.name = "recall",.field_name = rc_recall_column,.key = rc_recall_key,
	.convert = rc_recall_convert},
};

static const char *transform(const char *line, size_t len,
							 const RcTransformOptions *options,
							 RcTransformWork *work, RcTransformed *out);
static void shrink(RcTransformWork *work);
static const char *check_line(const char *line, size_t len,
							  RcJsonMembers *members);
static char *read_cursor(const RcJsonMembers *members, const char *field);
static const char *make_value(const char *line, size_t len,
							  const RcTransformOptions *options,
							  RcTransformWork *work, RcTransformed *result);

/*
 * The transform of that name.  Errors: XX000 if there is none, which the
 * check of rappel_conso.source prevents.
 */
const RcTransform *
rc_transform_find(const char *name)
{
	for (int i = 0; i < lengthof(transforms); i++)
	{
		if (strcmp(transforms[i].name, name) == 0)
			return &transforms[i];
	}
	elog(ERROR, "unrecognized transform: \"%s\"", name);
	return NULL;				/* keep compiler quiet */
}

/* Memory for transforms, in this context. */
RcTransformWork *
rc_transform_work(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	RcTransformWork *work = palloc0(sizeof(RcTransformWork));

	rc_json_members_init(&work->members);
	rc_json_members_init(&work->elements);
	initStringInfo(&work->plain);
	initStringInfo(&work->text);
	initStringInfo(&work->identification);
	initStringInfo(&work->value);
	MemoryContextSwitchTo(old);
	return work;
}

/*
 * Convert one line of a source to a record.
 *
 * Returns NULL after *out was filled; else why the line cannot become a
 * record (palloc'd or static).  Then only out->object is set if the line is a
 * JSON object, and out->key if it can be read.  Everything in *out is
 * palloc'd in the current context, UTF-8, and null-terminated in addition to
 * value_len.
 *
 * If the transform converts nothing, the value is the line without the white
 * space at its end, and the key is the text of the key field; a number keeps
 * its digits.  For recalls see rc_recall_convert(): the key is then the
 * reference of the recall.  The cursor is the text of the cursor field in the
 * line; NULL if that is absent, null, empty, an object or an array.
 *
 * Raises only out-of-memory errors.
 */
const char *
rc_transform(const char *line, size_t len, const RcTransformOptions *options,
			 RcTransformWork *work, RcTransformed *out)
{
	const char *error = transform(line, len, options, work, out);

	shrink(work);
	return error;
}

static const char *
transform(const char *line, size_t len, const RcTransformOptions *options,
		  RcTransformWork *work, RcTransformed *out)
{
	RcJsonMembers *members = &work->members;
	RcTransformed result = {0};
	const char *error;

	Assert(options->transform != NULL);
	memset(out, 0, sizeof(*out));
	while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL &&
		   line[len - 1] != '\0')
		len--;

	error = check_line(line, len, members);
	if (error != NULL)
		return error;
	out->object = result.object = true;
	if (options->key_field != NULL)
		error = rc_transform_key(members, options->key_field, &result.key);
	if (error != NULL)
		return error;
	out->key = result.key;
	if (out->key && options->transform->key)
		options->transform->key(out->key);
	if (members->flaw)
		return members->flaw;

	if (options->cursor_field != NULL)
		result.cursor = read_cursor(members, options->cursor_field);
	error = make_value(line, len, options, work, &result);
	if (error != NULL)
		return error;
	*out = result;
	return NULL;
}

/* Give back what a very large line needed. */
static void
shrink(RcTransformWork *work)
{
	StringInfo	texts[] = {&work->plain, &work->text, &work->identification,
	&work->value};

	for (int i = 0; i < lengthof(texts); i++)
	{
		if (texts[i]->maxlen > KEPT_BYTES)
		{
			texts[i]->data = repalloc(texts[i]->data, KEPT_BYTES);
			texts[i]->maxlen = KEPT_BYTES;
			resetStringInfo(texts[i]);
		}
	}
	rc_json_members_shrink(&work->members);
	rc_json_members_shrink(&work->elements);
}

/* Check that the line is one JSON object that PostgreSQL can store. */
static const char *
check_line(const char *line, size_t len, RcJsonMembers *members)
{
	const char *error;
	int			valid;

	/* leaves room for escapes in the written record, and the null byte */
	if (len >= MaxAllocSize / 8)
		return psprintf(gettext_noop("line of %zu bytes is too long"), len);
	valid = pg_encoding_verifymbstr(PG_UTF8, line, len);
	if (valid < (int) len)
		return psprintf(gettext_noop("invalid byte sequence for encoding \"UTF8\" at byte %d"),
						valid + 1);
	error = rc_json_scan(line, len, members);
	if (error == NULL && members->kind != '{')
		error = gettext_noop("JSON value is not an object");
	return error;
}

/* The text of the cursor field; NULL if it has none. */
static char *
read_cursor(const RcJsonMembers *members, const char *field)
{
	const RcJsonMember *member = rc_json_member(members, field);
	char	   *cursor = NULL;

	if (member != NULL)
		cursor = rc_json_scalar(member);
	return cursor != NULL && cursor[0] != '\0' ? cursor : NULL;
}

/* The value: the line itself, or the result of the transform. */
static const char *
make_value(const char *line, size_t len, const RcTransformOptions *options,
		   RcTransformWork *work, RcTransformed *result)
{
	RcJsonSink	sink;
	const char *error;

	if (options->transform->convert == NULL)
	{
		result->value = pnstrdup(line, len);
		result->value_len = len;
		return NULL;
	}
	if (options->pack)
		rc_pack_sink_begin(&sink, &work->value);
	else
		rc_json_sink_begin(&sink, &work->value);
	error = options->transform->convert(options, work, &sink.sink, result);
	if (error != NULL)
		return error;
	if (options->pack)
		result->field_name = options->transform->field_name;
	else
		rc_json_sink_end(&sink);
	result->value = palloc(work->value.len + 1);
	memcpy(result->value, work->value.data, work->value.len + 1);
	result->value_len = work->value.len;
	return NULL;
}

/*
 * Read the text of a key field into *key (palloc'd).
 *
 * Returns NULL, or what is wrong with the field (palloc'd).
 */
const char *
rc_transform_key(const RcJsonMembers *members, const char *field, char **key)
{
	const RcJsonMember *member = rc_json_member(members, field);

	if (member == NULL)
		return psprintf(gettext_noop("key field \"%s\" is missing"), field);
	switch (member->value[0])
	{
		case 'n':
			return psprintf(gettext_noop("key field \"%s\" is null"), field);
		case '{':
		case '[':
		case 't':
		case 'f':
			return psprintf(gettext_noop("key field \"%s\" is neither a string nor a number"),
							field);
		default:
			break;
	}
	*key = rc_json_scalar(member);
	if ((*key)[0] == '\0')
		return psprintf(gettext_noop("key field \"%s\" is empty"), field);
	return NULL;
}
