/*-------------------------------------------------------------------------
 *
 * fast_jsonb_read.c
 *	  The way from JSON text to jsonb: one pass makes a list of the values,
 *	  which fast_jsonb_write.c writes.
 *
 * Text that is not valid, that is nested deeply, or whose numbers could be out
 * of range is left to jsonb_in(), which keeps a tree of values of 32 bytes.  A
 * value takes 16 bytes here, and what is larger than a worker should hold is
 * left to it as well.
 *
 * Measured, both parts and fast_numeric.c: a jsonb stream of records of 150
 * bytes from 0.42 to 0.61 of the speed of COPY in the same run, typed ones with
 * an object of three numbers from 0.69 to 0.76 and, in a second run, 1.21.
 *
 *-------------------------------------------------------------------------
 */
#include "store/fast_jsonb.h"

#include "utils/jsonb.h"
#include "utils/memutils.h"

/* Values of which a list keeps its room for the next text. */
#define KEPT_NODES		4096
#define FIRST_NODES		64

/* Longer lists need more memory than a worker should take. */
#define MAX_NODES		(512 * 1024)

/* A number with an exponent of two digits cannot be out of range. */
#define ODD_NUMBER_LEN	100
#define ODD_NUMBER_SIZE	256

static bool read_value(RcJsonbWriter *writer, RcScan *scan, int depth);
static bool read_container(RcJsonbWriter *writer, RcScan *scan, char closing,
						   int depth);
static bool read_scalar(RcJsonbWriter *writer, RcScan *scan, char c);
static bool read_key(RcJsonbWriter *writer, RcScan *scan);
static int	add_node(RcJsonbWriter *writer);
static void set_string(RcJsonbWriter *writer, RcJsonNode *node,
					   const RcScanned *string);
static bool is_safe_number(const RcScanned *number);

/* Make a writer, in the current context. */
RcJsonbWriter *
rc_jsonb_writer_make(void)
{
	RcJsonbWriter *writer = palloc0(sizeof(RcJsonbWriter));

	writer->context = CurrentMemoryContext;
	return writer;
}

/*
 * Make jsonb of a whole text in the context "results"; false if not sure.  The
 * current context may be left with strings in it.
 */
bool
rc_jsonb_fast(RcJsonbWriter *writer, const char *json, int len,
			  MemoryContext results, Datum *value)
{
	RcScan		scan;

	if (!rc_scan_begin(&scan, json, len) || !rc_jsonb_read(writer, &scan))
		return false;
	(void) rc_scan_space(&scan);
	if (scan.at < scan.end)
		return false;
	*value = rc_jsonb_write(writer, results);
	return true;
}

/*
 * Read a value, in the current context.  False if it is left to the server;
 * then the scanner may be anywhere.
 */
bool
rc_jsonb_read(RcJsonbWriter *writer, RcScan *scan)
{
	/* a long list of an earlier record */
	if (writer->nodes == NULL || writer->room > KEPT_NODES)
	{
		if (writer->nodes != NULL)
			pfree(writer->nodes);
		writer->nodes = NULL;
		writer->room = FIRST_NODES;
		writer->nodes = MemoryContextAlloc(writer->context,
										   sizeof(RcJsonNode) * writer->room);
	}
	writer->n = 0;
	writer->size = VARHDRSZ + 2 * sizeof(uint32);
	return read_value(writer, scan, 0) && writer->size < JENTRY_OFFLENMASK;
}

static bool
read_value(RcJsonbWriter *writer, RcScan *scan, int depth)
{
	char		c = rc_scan_space(scan);

	if (c != '{' && c != '[')
		return read_scalar(writer, scan, c);
	if (depth >= RC_SCAN_DEPTH)
		return false;
	return read_container(writer, scan, c == '{' ? '}' : ']', depth);
}

static bool
read_container(RcJsonbWriter *writer, RcScan *scan, char closing, int depth)
{
	int			at = add_node(writer);
	int			n = 0;
	char		c;

	if (at < 0)
		return false;
	scan->at++;
	c = rc_scan_space(scan);
	if (c == closing)
		scan->at++;
	for (; c != closing; n++)
	{
		if (closing == '}' && !read_key(writer, scan))
			return false;
		if (!read_value(writer, scan, depth + 1))
			return false;
		c = rc_scan_space(scan);
		if (c != ',' && c != closing)
			return false;
		scan->at++;
	}
	writer->nodes[at].kind = (closing == '}') ? RC_NODE_OBJECT : RC_NODE_ARRAY;
	writer->nodes[at].len = n;
	writer->nodes[at].next = writer->n;
	return true;
}

static bool
read_key(RcJsonbWriter *writer, RcScan *scan)
{
	if (rc_scan_space(scan) != '"' || !read_scalar(writer, scan, '"') ||
		rc_scan_space(scan) != ':')
		return false;
	scan->at++;
	return true;
}

static bool
read_scalar(RcJsonbWriter *writer, RcScan *scan, char c)
{
	RcScanned	scalar;
	RcJsonNode *node;
	int			at;

	if (!rc_scan_scalar(scan, c, &scalar) || (at = add_node(writer)) < 0)
		return false;
	node = &writer->nodes[at];
	node->next = at + 1;
	switch (scalar.kind)
	{
		case JSON_TOKEN_STRING:
			set_string(writer, node, &scalar);
			return true;
		case JSON_TOKEN_NUMBER:
			node->kind = RC_NODE_NUMBER;
			node->text = scalar.text;
			node->len = scalar.len;
			writer->size += RC_NUMERIC_SIZE;
			if (!scalar.exponent && scalar.ndigits <= RC_NUMERIC_DIGITS)
				return true;
			writer->size += ODD_NUMBER_SIZE;
			return is_safe_number(&scalar);
		case JSON_TOKEN_TRUE:
			node->kind = RC_NODE_TRUE;
			return true;
		case JSON_TOKEN_FALSE:
			node->kind = RC_NODE_FALSE;
			return true;
		default:
			node->kind = RC_NODE_NULL;
			return true;
	}
}

/*
 * The next node; -1 if there are too many.  It may move the nodes before it.
 * Adds the size of an entry, padding and a container's header.
 */
static int
add_node(RcJsonbWriter *writer)
{
	if (writer->n == writer->room)
	{
		if (writer->room >= MAX_NODES)
			return -1;
		writer->room *= 2;
		writer->nodes = repalloc_huge(writer->nodes,
									  sizeof(RcJsonNode) * writer->room);
	}
	writer->size += sizeof(JEntry) + 2 * sizeof(uint32);
	return writer->n++;
}

static void
set_string(RcJsonbWriter *writer, RcJsonNode *node, const RcScanned *string)
{
	node->kind = RC_NODE_STRING;
	node->text = string->text;
	node->len = string->len;
	if (string->escaped)
		node->text = rc_scan_unescape(string, &node->len);
	writer->size += node->len;
}

/* Whether numeric_in() cannot raise an error for a number. */
static bool
is_safe_number(const RcScanned *number)
{
	const char *end = number->text + number->len;
	int			digits = 0;

	if (number->len > ODD_NUMBER_LEN)
		return false;
	if (!number->exponent)
		return true;
	while (end[-1] >= '0' && end[-1] <= '9')
	{
		end--;
		digits++;
	}
	return digits <= 2;
}
